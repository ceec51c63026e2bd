"""Settings: a TOML file read into a frozen struct, with overrides from the environment.

What is wrong is said in full, one line for each problem, with file, line, the key's whole path and, for a key that
does not exist, the nearest one that does. Structs, and tables of structs such as `[jobs.NAME]`, are strict at every
level; inside a plain `dict[str, Any]` everything goes.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from messages.settings.check import Key, Problem, check, element, unknown
from messages.settings.lines import line_of

Count = Annotated[int, msgspec.Meta(ge=1)]
Word = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Seconds = Annotated[float, msgspec.Meta(gt=0.0)]
"""What settings are bounded by, so that a number beyond is named with its file and line."""

PREFIX = "SKERRY_"
"""`SKERRY_<SECTION>__<KEY>` overrides `key` in `[section]`; `SKERRY_<KEY>` a key outside of any section."""

FIRST_LEVELS: Final = frozenset(
    {"node", "namespace", "data_dir", "payload", "beat_s", "mqtt", "apps", "trust", "outbox", "pace", "blobs", "jobs"}
    | {"broker", "http", "limits", "python"}
)
"""What begins a variable of one of the programs (or, `python`, of the scripts): a name of none is a typing error."""


class _NotASection(Exception):
    """A variable goes into a key that holds a value."""


T = TypeVar("T", bound=msgspec.Struct)


class ConfigError(Exception):
    """The configuration cannot be used. The text has one line for each problem, and names file and field."""


class Gathered(NamedTuple):
    """A settings file as text and as plain data with the environment's values in it.

    `sources` tells which variable set which key.
    """

    text: str
    data: dict[str, Any]
    sources: dict[Key, str]


def load(path: Path, shape: type[T], *, environ: Mapping[str, str] = os.environ) -> T:
    """Read a settings file. Raises ConfigError."""
    return msgspec.convert(gather(path, shape, environ).data, shape)


def gather(path: Path, shape: type[msgspec.Struct], environ: Mapping[str, str]) -> Gathered:
    """What can be converted to `shape`, and where it comes from. Raises ConfigError.

    Of the environment only variables count that name a first level which `shape` has: one environment may serve
    several programs. A value is read as TOML, or is taken as it stands where the setting is a string.
    """
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    sources: dict[Key, str] = {}
    wrong = _override(data, shape, environ, sources)
    wrong += [_said(problem, path, text, sources) for problem in check(data, shape)]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return Gathered(text, data, sources)


def beside(file: Path, path: str) -> Path:
    """A path that stands in a settings file: `~` is the home, and what is relative is relative to the file's folder."""
    return file.resolve().parent / Path(path).expanduser()


def whole(table: T, fields: Iterable[str], key: str, file: Path) -> T:
    """A table of a settings file with the whole paths of its files. Raises ConfigError when one cannot be read."""
    named = {field: getattr(table, field) for field in fields}
    found = {field: readable(path, f"{key}.{field}", file) for field, path in named.items() if path}
    return msgspec.structs.replace(table, **found)


def readable(path: str, key: str, file: Path) -> str:
    """The whole path of a file that stands in a settings file. Raises ConfigError when it cannot be read."""
    found = beside(file, path)
    if not os.access(found, os.R_OK):
        raise ConfigError(f"{key}: {found} is not there, or may not be read")
    return str(found)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}") from error


def _override(
    data: dict[str, Any], shape: type[msgspec.Struct], environ: Mapping[str, str], sources: dict[Key, str]
) -> list[str]:
    """Put the environment's values into `data` and note which variable set which key; returns what is wrong."""
    own, wrong = set(shape.__struct_encode_fields__), []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        names = variable.removeprefix(PREFIX).lower().split("__")
        if names[0] in own:
            try:
                sources[_put(data, shape, names, environ[variable])] = variable
            except _NotASection as error:
                wrong.append(f"{variable}: {error} is a value, not a section")
        elif names[0] not in FIRST_LEVELS:
            wrong.append(f"{variable}: {names[0]}: {unknown(names[0], sorted(own | FIRST_LEVELS))}")
    return wrong


def _put(data: dict[str, Any], shape: Any, names: list[str], value: str) -> Key:
    table, kind = data, shape
    key: Key = ()
    for name in names[:-1]:
        known = _spelled(name, table, kind)
        key, kind, table = (*key, known), element(kind, known), table.setdefault(known, {})
        if not isinstance(table, dict):
            raise _NotASection(".".join(key))
    known = _spelled(names[-1], table, kind)
    table[known] = value if _takes_text(element(kind, known), value) else _as_toml(value)
    return (*key, known)


def _spelled(name: str, table: Mapping[str, Any], kind: Any) -> str:
    """A variable cannot hold `-`, `.` or capitals: find the key that is meant among those that are there."""
    known = [*table, *getattr(kind, "__struct_encode_fields__", ())]
    return next((key for key in known if key.lower().replace("-", "_").replace(".", "_") == name), name)


def _takes_text(kind: Any, value: str) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return kind is not Any


def _as_toml(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _said(problem: Problem, path: Path, text: str, sources: Mapping[Key, str]) -> str:
    for size in range(len(problem.key), 0, -1):
        if problem.key[:size] in sources:
            return f"{sources[problem.key[:size]]}: {problem}"
    line = line_of(text, problem.key)
    if line is not None:
        return f"{path}:{line}: {problem}"
    beside_it = problem.key[:-1] or problem.key
    variable = next((name for key, name in sources.items() if key[: len(beside_it)] == beside_it), None)
    return f"{variable or path}: {problem}"
