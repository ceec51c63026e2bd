"""Where in a TOML file a key stands: for error messages, since the parser does not say."""

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any


def line_of(text: str, key: Sequence[str]) -> int | None:
    """The line (from 1) of a key, or of the innermost table around it that the file spells out; None without one."""
    best, found = 0, None
    for number, place in _places(text):
        size = len(place)
        if size > best and tuple(key[:size]) == place:
            best, found = size, number
    return found


def _places(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line numbers with the full key that is set, or the table that begins, on each."""
    table: tuple[str, ...] = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not quote:
            if line.lstrip().startswith("["):
                table = _path(line) or table
                yield number, table
            elif key := _path(f"{line.partition('=')[0]} = 0"):
                yield number, (*table, *key)
        quote = _still_open(line, quote)


def _still_open(line: str, quote: str) -> str:
    """The quotes of a multi-line string that goes on after this line."""
    for mark in ('"""', "'''"):
        if quote in ("", mark) and line.count(mark) % 2:
            return "" if quote else mark
    return quote


def _path(text: str) -> tuple[str, ...]:
    try:
        table: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while table and isinstance(table, dict | list):
        if isinstance(table, list):
            table = table[0]
            continue
        name = next(iter(table))
        path.append(name)
        table = table[name]
    return tuple(path)
