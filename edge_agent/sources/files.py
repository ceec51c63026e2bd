"""Reads one file of a folder as samples: a CSV table row by row, NumPy arrays, pictures."""

import csv
from collections.abc import Iterator
from math import prod
from pathlib import Path

from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.feed import Bad, Sample, SourceError
from edge_agent.sources.images import ImageOptions, fit, layout
from messages.tensors import cast, from_lists

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


class FileOptions(ImageOptions, frozen=True, kw_only=True):
    """How files are read. `columns` is the header of a CSV table, by which every such file is checked."""

    columns: tuple[str, ...] = ()


def read(path: Path, options: FileOptions, takes: TensorSpec) -> Iterator[Sample | Bad]:
    """The samples of a file; their ids are only the place in it (":4" is line 4), empty for a file that is one sample.

    Raises ValueError or whatever the file's decoder raises when the whole file is unusable, and SourceError when no
    file of its kind could be used.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        return _table(path, options.columns, takes)
    if kind == ".npy":
        return _arrays(path, takes)
    if kind in PICTURES:
        return _picture(path, options, takes)
    raise ValueError(f"{kind or 'a name without a suffix'} is not read: use .csv, .npy or {', '.join(PICTURES)}")


def _table(path: Path, columns: tuple[str, ...], takes: TensorSpec) -> Iterator[Sample | Bad]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        header = tuple(cell.strip() for cell in next(rows, ())) if columns else ()
        if header != columns:
            raise ValueError(f"its header is {', '.join(header)}; columns says {', '.join(columns)}"[:300])
        for row in rows:
            if row:
                yield _row(row, f":{rows.line_num}", columns, takes)


def _row(row: list[str], place: str, columns: tuple[str, ...], takes: TensorSpec) -> Sample | Bad:
    numbers = []
    for index, cell in enumerate(row):
        try:
            numbers.append(float(cell))
        except ValueError:
            name = columns[index] if index < len(columns) else f"column {index + 1}"
            hint = "" if columns else "; a table with a header needs columns = [...]"
            return Bad(place, f"{name} is {cell[:40]!r}, which is no number{hint}")
    try:
        x = from_lists(numbers, takes.dtype)
    except ValueError as error:
        return Bad(place, str(error))
    if x.size != prod(takes.shape):
        return Bad(place, f"has {x.size} columns, the engine takes {takes}")
    return Sample(place, x.reshape(takes.shape))


def _arrays(path: Path, takes: TensorSpec) -> Iterator[Sample | Bad]:
    import numpy as np

    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.shape == takes.shape:
        yield Sample("", cast(array, takes.dtype))
        return
    if array.shape[1:] != takes.shape:
        raise ValueError(f"holds {TensorSpec(str(array.dtype), array.shape)}, the engine takes {takes}")
    for number, x in enumerate(array):
        try:
            yield Sample(f":{number}", cast(x, takes.dtype))
        except ValueError as error:
            yield Bad(f":{number}", str(error))


def _picture(path: Path, options: FileOptions, takes: TensorSpec) -> Iterator[Sample | Bad]:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise SourceError("pictures need Pillow: pip install 'skerry[images]'") from error
    to = layout(takes, options)
    with Image.open(path) as picture:
        yield Sample("", fit(picture, to, takes))
