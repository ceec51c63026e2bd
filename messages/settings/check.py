"""What is wrong with settings, all of it at once: a walk over plain data beside the struct that it should be."""

import difflib
import enum
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

import msgspec

Key: TypeAlias = tuple[str, ...]
"""Where a setting stands: `("jobs", "digits", "model")`."""


_UNIONS: Final = (Union, types.UnionType)


class Problem(NamedTuple):
    """One thing that is wrong, and where; `inside` goes on from the key into its value, like `[1]`."""

    key: Key
    text: str
    inside: str = ""

    def __str__(self) -> str:
        place = ".".join(self.key) + self.inside
        return f"{place}: {self.text}" if place else self.text


def check(data: Any, kind: Any) -> list[Problem]:
    """All problems of `data` as `kind`, in the order of the file; none when it can be converted."""
    return list(_walk(data, kind, ()))


def element(kind: Any, name: str) -> Any:
    """The type of the value under `name` in a table of type `kind`; Any where that is open or unknown."""
    kind = _table_of(kind)
    if _is_struct(kind):
        return next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == name), Any)
    return get_args(kind)[1] if get_origin(kind) is dict else Any


def _walk(data: Any, kind: Any, key: Key) -> Iterator[Problem]:
    table = _table_of(kind)
    if _is_struct(table) and isinstance(data, dict):
        problems = list(_walk_struct(data, table, key))
        yield from problems or _leaf(data, table, key)  # with good fields, a struct may refuse their combination
    elif get_origin(table) is dict and isinstance(data, dict):
        for name, value in data.items():
            yield from _walk(value, get_args(table)[1], (*key, name))
    else:
        yield from _leaf(data, kind, key)


def _walk_struct(data: dict[str, Any], kind: Any, key: Key) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name, value in data.items():
        if name in fields:
            yield from _walk(value, fields[name].type, (*key, name))
        else:
            yield Problem((*key, name), unknown(name, list(fields)))
    for name, field in fields.items():
        if field.required and name not in data:
            yield Problem((*key, name), "missing")


def unknown(name: str, fields: list[str]) -> str:
    """Says that a name is none of the fields, and which one was probably meant."""
    near = difflib.get_close_matches(name.lower(), fields, n=1, cutoff=0.0)
    return f"unknown key; the nearest is {near[0]!r}" if near else "unknown key; no key is known here"


def _leaf(data: Any, kind: Any, key: Key) -> Iterator[Problem]:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        choices = _choices(kind)
        if choices:
            yield Problem(key, f"expected one of {', '.join(map(repr, choices))}, got {data!r}")
            return
        yield _translated(str(error), key)


def _translated(text: str, key: Key) -> Problem:
    """The words of msgspec in those of a TOML file, with the rest of the path where it goes deeper."""
    said, _, place = text.partition(" - at `$")
    for name, ours in (("object", "table"), ("array", "list")):
        said = said.replace(f"`{name}`", f"`{ours}`")
    said = re.sub(r"`([a-z_ |]+)`", r"\1", said)
    return Problem(key, said[:1].lower() + said[1:], place.removesuffix("`"))


def _choices(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) in _UNIONS:
        return [choice for option in get_args(kind) for choice in _choices(option)]
    members: Iterable[enum.Enum] = kind if isinstance(kind, enum.EnumMeta) else ()
    return [member.value for member in members]


def _table_of(kind: Any) -> Any:
    """The type that a table has where a union also allows other things."""
    if get_origin(kind) not in _UNIONS:
        return kind
    tables = [option for option in get_args(kind) if _is_struct(option) or get_origin(option) is dict]
    return tables[0] if len(tables) == 1 else kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
