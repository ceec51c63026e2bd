"""Where each setting comes from: the default, a line of the file, or a variable of the environment."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from messages.settings.check import Key, element
from messages.settings.lines import line_of
from messages.settings.read import Gathered, gather

HIDDEN: Final = "(hidden)"
_SECRET: Final = re.compile(r"(?i)(password|passwd|secret|token|api_?key|credential)s?$")
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]*@")


class Setting(msgspec.Struct, frozen=True):
    """One setting: its whole key, its value as plain data without secrets, and "default", file:line or a variable."""

    key: str
    value: Any
    origin: str


def settings(path: Path, shape: type[msgspec.Struct], *, environ: Mapping[str, str] = os.environ) -> list[Setting]:
    """Every setting that is in force, in the order of the struct. Raises ConfigError."""
    gathered = gather(path, shape, environ)
    plain = msgspec.to_builtins(msgspec.convert(gathered.data, shape))
    return [Setting(".".join(key), _shown(key[-1], value), _origin(key, path, gathered))
            for key, value in _leaves(plain, shape, ())]  # fmt: skip


def lines(found: Sequence[Setting], *, origin: bool) -> list[str]:
    """Settings as text, one a line; with `origin`, where each comes from."""
    if not origin:
        return [_written(setting) for setting in found]
    width = min(60, max((len(_written(setting)) for setting in found), default=0))
    return [f"{_written(setting):<{width}}  # {setting.origin}" for setting in found]


def _written(setting: Setting) -> str:
    return f"{setting.key} = {msgspec.json.encode(setting.value).decode()}"


def _leaves(table: dict[str, Any], kind: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    """The values below a table. A table in which everything goes (a plug-in's) is one value."""
    for name, value in table.items():
        inner = element(kind, name)
        if isinstance(value, dict) and value and element(inner, next(iter(value))) is not Any:
            yield from _leaves(value, inner, (*key, name))
        else:
            yield (*key, name), value


def _origin(key: Key, path: Path, gathered: Gathered) -> str:
    for size in range(len(key), 0, -1):
        if key[:size] in gathered.sources:
            return gathered.sources[key[:size]]
    table: Any = gathered.data
    for name in key:
        if not isinstance(table, dict) or name not in table:
            return "default"
        table = table[name]
    return f"{path}:{line_of(gathered.text, key)}"


def _shown(name: str, value: Any) -> Any:
    """A value without what nobody should read over a shoulder."""
    if isinstance(value, dict):
        return {inner: _shown(inner, item) for inner, item in value.items()}
    if _SECRET.search(name) and value:
        return HIDDEN
    return _LOGIN.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value
