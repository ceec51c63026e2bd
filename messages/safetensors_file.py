"""A strict reader of safetensors files: nothing is allocated and no name believed before header and sizes are checked.

Format: a little-endian u64 with the header's length, a JSON object `{name: {dtype, shape, data_offsets}}`, then the
bytes. Duplicate names, overlaps and holes are refused: another reader would see another model.
"""

import json
from math import prod
from typing import Any

import numpy as np
from msgspec import Struct

MAX_HEADER = 1 << 20
MAX_TENSORS = 10_000

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip

Arrays = dict[str, np.ndarray[Any, Any]]


class _Entry(Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read(raw: bytes) -> tuple[Arrays, dict[str, str]]:
    """All arrays (read-only views into `raw`) and the metadata. Raises ValueError that names the tensor."""
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > min(MAX_HEADER, len(raw) - 8):
        raise ValueError(f"header of {length} bytes: at most {MAX_HEADER}, in a file of {len(raw)}")
    header = _header(raw[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("__metadata__: not a map of text")
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors: at most {MAX_TENSORS}")
    entries = sorted((_entry(name, item) for name, item in header.items()), key=lambda e: (e.start, e.end))
    body = memoryview(raw)[8 + length :]
    _check_cover(entries, len(body))
    return {entry.name: _array(entry, body) for entry in entries}, metadata


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"header: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("header: not a JSON object")  # noqa: TRY004  # bad bytes, no mistake in code
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def _entry(name: str, item: Any) -> _Entry:
    if not isinstance(item, dict) or set(item) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r}: not dtype, shape and data_offsets")
    shape, offsets = item["shape"], item["data_offsets"]
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > 8:
        raise ValueError(f"tensor {name!r}: shape {str(shape)[:80]}, data_offsets {str(offsets)[:80]}")
    dtype = _DTYPES.get(item["dtype"]) if isinstance(item["dtype"], str) else None
    if dtype is None:
        raise ValueError(f"tensor {name!r}: dtype {str(item['dtype'])[:20]!r}, not one of {', '.join(_DTYPES)}")
    wanted = prod(shape) * np.dtype(dtype).itemsize
    if offsets[1] - offsets[0] != wanted:
        raise ValueError(f"tensor {name!r}: {offsets[1] - offsets[0]} bytes, its shape and dtype have {wanted}")
    return _Entry(name, dtype, tuple(shape), *offsets)


def _are_sizes(items: Any) -> bool:
    return isinstance(items, list) and all(type(item) is int and 0 <= item < 2**63 for item in items)


def _check_cover(entries: list[_Entry], size: int) -> None:
    at = 0
    for entry in entries:
        if entry.start != at:
            raise ValueError(f"tensor {entry.name!r}: begins at {entry.start}, the one before ends at {at}")
        at = entry.end
    if at != size:
        raise ValueError(f"the tensors end at {at}, the file's data at {size}")


def _array(entry: _Entry, body: memoryview) -> np.ndarray[Any, Any]:
    return np.frombuffer(body[entry.start : entry.end], dtype=entry.dtype).reshape(entry.shape)
