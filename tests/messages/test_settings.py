"""Settings say what is wrong: which file, which line, which key, and what was probably meant."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from messages.settings.read import ConfigError, beside, load


class Level(StrEnum):
    LOW = "low"
    HIGH = "high"


class Job(Struct, frozen=True):
    model: str
    keep: Literal["newest", "every"] = "newest"
    source: str | dict[str, Any] = ""


class Link(Struct, frozen=True):
    url: str = "mqtt://127.0.0.1"
    port: int = 1883
    retry_s: float = 1.0
    names: list[str] = []
    level: Level = Level.LOW
    tls: bool = False


class Shape(Struct, frozen=True):
    node: str
    link: Link = Link()
    jobs: dict[str, Job] = {}
    spare: Link | None = None


class Span(Struct, frozen=True):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


class Spans(Struct, frozen=True):
    spans: dict[str, Span]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def said(file: Path, text: str, environ: dict[str, str] | None = None, shape: type[Struct] = Shape) -> list[str]:
    """What the error says, without the folder."""
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, shape, environ=environ or {})
    return str(caught.value).replace(f"{file.parent}/", "").splitlines()


def test_a_file_becomes_a_struct(file: Path) -> None:
    file.write_text(
        'node = "a"\n[link]\nport = 8883\nretry_s = 2\n[jobs.digits]\nmodel = "m.npz"\n'
        'source = {use = "cam:frames", fps = 5}\n'
    )
    job = Job(model="m.npz", source={"use": "cam:frames", "fps": 5})
    assert load(file, Shape, environ={}) == Shape(node="a", link=Link(port=8883, retry_s=2.0), jobs={"digits": job})


CASES = {
    "unknown key": ('node = "a"\nnod = "b"\n', ["agent.toml:2: nod: unknown key; the nearest is 'node'"]),
    "unknown key in a section": (
        'node = "a"\n\n[link]\nprot = 3\n',
        ["agent.toml:4: link.prot: unknown key; the nearest is 'port'"],
    ),
    "unknown key in a table of structs": (
        'node = "a"\n[jobs.digits]\nmodel = "m"\nmodle = "n"\n',
        ["agent.toml:4: jobs.digits.modle: unknown key; the nearest is 'model'"],
    ),
    "unknown section": ('node = "a"\n[lnk]\nport = 1\n', ["agent.toml:2: lnk: unknown key; the nearest is 'link'"]),
    "unknown key in an optional section": (
        'node = "a"\n[spare]\nprt = 1\n',
        ["agent.toml:3: spare.prt: unknown key; the nearest is 'port'"],
    ),
    "unknown dotted key": (
        'node = "a"\nlink.prot = 3\n',
        ["agent.toml:2: link.prot: unknown key; the nearest is 'port'"],
    ),
    "inline table": (
        'node = "a"\nlink = {prot = 3}\n',
        ["agent.toml:2: link.prot: unknown key; the nearest is 'port'"],
    ),
    "missing": (
        '[jobs.digits]\nkeep = "every"\n',
        ["agent.toml:1: jobs.digits.model: missing", "agent.toml: node: missing"],
    ),
    "wrong type": ("node = 3\n", ["agent.toml:1: node: expected str, got int"]),
    "text for a number": ('node = "a"\n[link]\nport = "x"\n', ["agent.toml:3: link.port: expected int, got str"]),
    "a value for a section": ('node = "a"\nlink = 3\n', ["agent.toml:2: link: expected table, got int"]),
    "a list's item": ('node = "a"\n[link]\nnames = ["x", 3]\n', ["agent.toml:3: link.names[1]: expected str, got int"]),
    "literal": (
        'node = "a"\n[jobs.d]\nmodel = "m"\nkeep = "all"\n',
        ["agent.toml:4: jobs.d.keep: expected one of 'newest', 'every', got 'all'"],
    ),
    "enum": (
        'node = "a"\n[link]\nlevel = "mid"\n',
        ["agent.toml:3: link.level: expected one of 'low', 'high', got 'mid'"],
    ),
    "look-alike in a text": (
        'node = """\n[link]\nprot = 1\n"""\n[link]\nprot = 3\n',
        ["agent.toml:6: link.prot: unknown key; the nearest is 'port'"],
    ),
    "quoted name": (
        'node = "a"\n[jobs."a.b"]\nmodel = 1\n',
        ["agent.toml:3: jobs.a.b.model: expected str, got int"],
    ),
    "all at once": (
        "nod = 1\n[link]\nport = true\n",
        [
            "agent.toml:1: nod: unknown key; the nearest is 'node'",
            "agent.toml:3: link.port: expected int, got bool",
            "agent.toml: node: missing",
        ],
    ),
    "not TOML": ('node = "a"\nlink = [\n', ["agent.toml: not TOML: Invalid value (at end of document)"]),
    "not TOML, with the place": ("node = \n", ["agent.toml: not TOML: Invalid value (at line 1, column 8)"]),
}


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_said_with_its_place(file: Path, text: str, lines: list[str]) -> None:
    assert said(file, text) == lines


def test_a_struct_may_refuse_a_combination(file: Path) -> None:
    lines = said(file, "[spans.first]\nlow = 3\nhigh = 2\n", shape=Spans)
    assert lines == ["agent.toml:1: spans.first: low 3 is above high 2"]


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"agent\.toml: No such file or directory$"):
        load(file, Shape, environ={})


def test_a_folder_and_bytes_that_are_not_text(file: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory$"):
        load(file.parent, Shape, environ={})
    file.write_bytes(b"node = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8 text: byte 8 is 0xff$"):
        load(file, Shape, environ={})


def test_the_environment_overrides(file: Path) -> None:
    file.write_text('node = "a"\n[jobs.Front-door]\nmodel = "m"\n')
    environ = {
        "SKERRY_NODE": "17",
        "SKERRY_LINK__PORT": "8883",
        "SKERRY_LINK__TLS": "true",
        "SKERRY_LINK__LEVEL": "high",
        "SKERRY_LINK__NAMES": '["x", "y"]',
        "SKERRY_JOBS__FRONT_DOOR__MODEL": "n",
        "SKERRY_HTTP__PORT": "of another program",
        "SKERRY_PYTHON": "of the scripts",
        "PATH": "/bin",
    }
    settings = load(file, Shape, environ=environ)
    assert settings.node == "17"
    assert settings.link == Link(port=8883, tls=True, level=Level.HIGH, names=["x", "y"])
    assert settings.jobs == {"Front-door": Job(model="n")}


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("SKERRY_LINK__PRT", "1", "SKERRY_LINK__PRT: link.prt: unknown key; the nearest is 'port'"),
        ("SKERRY_LINK__PORT", "many", "SKERRY_LINK__PORT: link.port: expected int, got str"),
        ("SKERRY_LINK", "1", "SKERRY_LINK: link: expected table, got int"),
        ("SKERRY_NODE__NAME", "x", "SKERRY_NODE__NAME: node is a value, not a section"),
        ("SKERRY_LNK__PORT", "1", "SKERRY_LNK__PORT: lnk: unknown key; the nearest is 'link'"),
        ("SKERRY_JOBS__D__KEEP", "every", "SKERRY_JOBS__D__KEEP: jobs.d.model: missing"),
    ],
)
def test_what_is_wrong_in_the_environment_names_the_variable(file: Path, variable: str, value: str, line: str) -> None:
    assert line in said(file, 'node = "a"\n', {variable: value})


def test_paths_are_relative_to_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert beside(file, "models/m.npz") == file.parent / "models" / "m.npz"
    assert beside(file, "/var/lib/m.npz") == Path("/var/lib/m.npz")
    assert beside(file, "~/m.npz") == Path("/home/someone/m.npz")


@given(st.text())
def test_any_text_loads_or_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"any\.toml"):
        load(file, Shape, environ={})
