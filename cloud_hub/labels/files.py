"""Label files: CSV with a header, or JSON lines. Every mistake is named by file, line and field."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from messages.channels import BadTopic, checked

MOST_ID: Final = 200
LARGEST: Final = 2**31 - 1

Index = Annotated[int, Meta(ge=0, le=LARGEST)]


class BadLabels(Exception):
    """A file of labels cannot be used. The text names file, line and field."""


class Label(Struct, frozen=True):
    """A line: the class of one sample, None where nobody has said it yet. An empty node is whoever has the sample."""

    sample_id: Annotated[str, Meta(min_length=1, max_length=MOST_ID)]
    label: Index | None
    node: str = ""


def read(file: Path) -> list[Label]:
    """All labels of a file, once each. Raises BadLabels."""
    seen: dict[tuple[str, str], tuple[int, int]] = {}
    found = []
    for number, label in _lines(file):
        if label.label is None:
            continue
        key = (label.sample_id, label.node)
        before = seen.setdefault(key, (number, label.label))
        if before[1] != label.label:
            there = f"but {before[1]} in line {before[0]}"
            raise BadLabels(f"{file}:{number}: label: sample {label.sample_id!r} is {label.label}, {there}")
        if before[0] == number:
            found.append(label)
    return found


def _lines(file: Path) -> Iterator[tuple[int, Label]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadLabels(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadLabels(f"{file}:{line}: is not UTF-8") from error
    read_lines = _of_json if text.lstrip().startswith("{") else _of_csv
    return read_lines(file, text)


def _of_json(file: Path, text: str) -> Iterator[tuple[int, Label]]:
    decoder = msgspec.json.Decoder(Label)
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _checked(file, number, decoder.decode, line)


def _of_csv(file: Path, text: str) -> Iterator[tuple[int, Label]]:
    rows = csv.DictReader(text.splitlines(keepends=True), strict=True, skipinitialspace=True)
    if missing := [name for name in ("sample_id", "label") if name not in _header(file, rows)]:
        raise BadLabels(f"{file}:1: no column {' and no column '.join(missing)}: the first line names the columns")
    for row in _rows(file, rows):
        if None in row or None in row.values():
            raise BadLabels(f"{file}:{rows.line_num}: has another number of columns than the first line")
        yield rows.line_num, _checked(file, rows.line_num, _of_row, row)


def _header(file: Path, rows: "csv.DictReader[str]") -> Iterable[str]:
    try:
        return rows.fieldnames or ()
    except csv.Error as error:
        raise BadLabels(f"{file}:1: {error}") from error


def _rows(file: Path, rows: "csv.DictReader[str]") -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise BadLabels(f"{file}:{rows.line_num + 1}: {error}") from error


def _of_row(row: Mapping[str, str]) -> Label:
    plain = {**row, "label": row["label"].strip() or None}
    return msgspec.convert(plain, Label, strict=False)


def _checked(file: Path, number: int, make: Callable[[Any], Label], given: Any) -> Label:
    try:
        label = make(given)
        if label.node:
            checked(label.node, "node")
    except (msgspec.DecodeError, BadTopic) as error:
        raise BadLabels(f"{file}:{number}: {_words(error)}") from error
    return label


def _words(error: Exception) -> str:
    """What msgspec says, "... - at `$.label`", with the field in front."""
    said, _, place = str(error).partition(" - at `$.")
    return f"{place.rstrip('`')}: {said}" if place else said
