"""What the documentation tells a person to type works, and what it says comes out does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.console import ANOTHER_SYSTEM, COVERED_BY, Command, commands, is_story

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("configs/**/*.md"))]
OF_PAGES = {page: list(commands(page, str(page.relative_to(ROOT)))) for page in PAGES}
COMMANDS = [command for found in OF_PAGES.values() for command in found]
COVERED = [command for command in COMMANDS if command.covered_by is not None]
RUN = [command for page, found in OF_PAGES.items() for command in found if command.runs_here and not is_story(page)]
"""Pages with files of their own are run as a whole: see `tests/docs/`."""


def place(command: Command) -> str:
    return command.place


@pytest.mark.parametrize("command", RUN, ids=place)
def test_a_command_works_as_documented(command: Command) -> None:
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command.text], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert command.missing(done.stdout) == []


@pytest.mark.parametrize("command", COVERED, ids=place)
def test_a_command_that_takes_long_is_run_elsewhere(command: Command) -> None:
    path = ROOT / str(command.covered_by)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.suffix in ("", ".py", ".sh")]
    program = command.text.split()[0]
    assert any(program in file.read_text() for file in files if file.is_file()), f"{path} does not run {program}"


def test_marks_are_known() -> None:
    unknown = [
        c.place for c in COMMANDS for mark in c.marks if mark != ANOTHER_SYSTEM and not mark.startswith(COVERED_BY)
    ]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    paths = re.findall(r"`((?:messages|edge_agent|cloud_hub|configs|scripts|tests|docs)/[\w./-]*)`", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []
