"""The house: what is installed, what the scripts promise, and what a user copies from `configs/`."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (CONFIGS / "constraints.txt").read_text().splitlines() if "==" in line)
SCRIPTS = [path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix]


def bash(code: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/bash", "-c", code]
    return subprocess.run(command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, check=False)


def name_of(requirement: str) -> str:
    return Requirement(requirement).name.lower()


def test_the_base_install_is_what_an_agent_needs() -> None:
    assert {name_of(line) for line in PROJECT["dependencies"]} == {
        *("aiomqtt", "paho-mqtt", "msgspec", "numpy", "cryptography"),
    }


def test_constraints_pin_what_the_project_names_and_what_is_installed() -> None:
    extras = PROJECT["optional-dependencies"]
    named = [Requirement(line) for line in [*PROJECT["dependencies"], *extras["hub"], *extras["dev"], *extras["torch"]]]
    pins = {name.lower(): pin for name, pin in PINS.items()}
    assert next(iter(PINS)) == "torch"
    assert [str(wanted) for wanted in named if not wanted.specifier.contains(pins[wanted.name.lower()])] == []
    assert {w.name: version(w.name).split("+")[0] for w in named} == {w.name: pins[w.name.lower()] for w in named}


def test_nothing_named_drags_in_a_package_without_a_pin() -> None:
    todo = [name_of(line) for group in ("hub", "dev") for line in PROJECT["optional-dependencies"][group]]
    todo += [name_of(line) for line in PROJECT["dependencies"]]
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in PINS} | {"setuptools", "pip"}
    seen: set[str] = set()
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        needs = [Requirement(line) for line in requires(name) or []]
        todo += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    assert seen - pinned == set()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_how_it_is_used_from_any_folder(script: Path, tmp_path: Path) -> None:
    assert os.access(script, os.X_OK)
    done = bash(f"{script} --help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"usage: scripts/{script.name}" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `.venv` writes down what it is asked to do."""
    for name in ("pyproject.toml", "configs/constraints.txt", "scripts/_env.sh"):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((ROOT / name).read_text())
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/asked\n[ ! -e {tmp_path}/broken ]\n')
    python.chmod(0o755)
    return tmp_path


def asked(checkout: Path, *extras: str) -> list[str]:
    """What installing `extras` asks of Python, from the `-c` on."""
    (checkout / "asked").write_text("")
    done = bash(f". {checkout}/scripts/_env.sh; env_ready {' '.join(extras)}")
    assert done.returncode == 0, done.stderr
    return [line.partition("constraints.txt ")[2] for line in (checkout / "asked").read_text().splitlines()]


def test_the_environment_is_installed_once_for_each_content_of_the_project(checkout: Path) -> None:
    torch = f"torch=={PINS['torch']}"
    assert asked(checkout, "hub") == [torch, "-e .[hub]"]
    assert asked(checkout, "hub") == []
    assert asked(checkout, "hub", "dev") == [torch, "-e .[hub,dev]"]
    assert asked(checkout, "dev") == []
    with (checkout / "configs/constraints.txt").open("a") as file:
        file.write("another==1\n")
    assert asked(checkout) == ["-e ."]


def test_an_installation_that_failed_is_said_and_tried_again(checkout: Path) -> None:
    (checkout / "broken").touch()
    done = bash(f". {checkout}/scripts/_env.sh; env_ready dev")
    assert done.returncode == 1
    assert "error: could not install Skerry with dev: see above" in done.stderr
    (checkout / "broken").unlink()
    assert asked(checkout, "dev") == ["-e .[dev]"]


@pytest.mark.parametrize(("function", "words"), [("env_mosquitto", "mosquitto"), ("env_compiler", "gcc libc6-dev")])
def test_a_missing_program_is_named_where_it_cannot_be_installed(function: str, words: str, tmp_path: Path) -> None:
    done = bash(f". scripts/_env.sh; PATH={tmp_path}; {function}")
    assert done.returncode == 1
    assert f"is missing and cannot be installed from here; as root: apt-get install {words}" in done.stderr


def test_a_skipped_test_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_fine(): pass\n@pytest.mark.skip\ndef test_it(): pass\n"
    )
    done = bash("python -m pytest -q -p no:cacheprovider", cwd=tmp_path, PATH=_path())
    assert "1 passed, 1 skipped" in done.stdout
    assert "skipped, which is not allowed here" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The service file with a program that is on this machine."""
    file = tmp_path / "edge-agent.service"
    file.write_text((CONFIGS / "edge-agent.service").read_text().replace("/opt/skerry/bin/edge-agent", "/bin/true"))
    return file


def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    done = bash(f"systemd-analyze verify --recursive-errors=yes --man=no {unit}")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_sandboxed(unit: Path) -> None:
    """The threshold is the exposure times ten: 1.5 of 10."""
    done = bash(f"systemd-analyze security --offline=yes --threshold=15 {unit}")
    assert done.returncode == 0, done.stdout


def test_the_container_copies_what_is_there_and_does_not_run_as_root() -> None:
    lines = (CONFIGS / "Containerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert [path for paths in copies for path in paths if not (ROOT / path).exists()] == []
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")) :]
    assert [line for line in final if line.startswith("USER")] == ["USER 10001"]


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"
