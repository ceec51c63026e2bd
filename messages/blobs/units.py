"""How content is cut into units, each with its SHA-256: what is verified, resumed and never sent twice.

Cuts lie where eight bytes of the content say so, not at fixed places: bytes that are put in shift what follows, and
the units after them are still the old ones. Decision 13 has the figures.
"""

import struct
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import BinaryIO, Final, NamedTuple

from messages.shapes import BlobRef

LEAST: Final = 65_536
MOST: Final = 262_144
"""Bytes of a unit; only the last one may have less than LEAST."""

ENTRY: Final = struct.Struct("<I32s")
"""A unit in the list: its length and its digest."""

_RARITY: Final = 16
"""One place in 2**16 is a cut."""

_WORD: Final = 8
_READ: Final = 2 * MOST


class Unit(NamedTuple):
    """A piece of a blob: where it begins, how long it is, and its digest."""

    offset: int
    length: int
    digest: bytes


class BadList(ValueError):
    """A list of units that does not fit the blob that it is said to belong to."""


def describe(file: BinaryIO) -> tuple[BlobRef, bytes]:
    """Cut a file's content: its reference and its list. Reads it once, and keeps little of it."""
    whole = sha256()
    entries = bytearray()
    size = 0
    for unit in _cut(file):
        whole.update(unit)
        entries += ENTRY.pack(len(unit), sha256(unit).digest())
        size += len(unit)
    listed = bytes(entries)
    ref = BlobRef(
        sha256=whole.hexdigest(), size=size, list_sha256=sha256(listed).hexdigest(), units=len(listed) // ENTRY.size
    )
    return ref, listed


def whole(ref: BlobRef) -> bytes | None:
    """The list of a blob that is one unit, which need not travel; None of one that is more.

    Raises BadList for a reference that no content can have.
    """
    if not 0 < ref.size <= ref.units * MOST or ref.units > ref.size // LEAST + 1:
        raise BadList(f"{ref.units} units cannot hold {ref.size} bytes")
    if ref.units > 1:
        return None
    listed = ENTRY.pack(ref.size, bytes.fromhex(ref.sha256))
    if sha256(listed).hexdigest() != ref.list_sha256:
        raise BadList("its digest and that of its list are not of the same content")
    return listed


def parse(listed: bytes, ref: BlobRef) -> list[Unit]:
    """The units of a list that has the right digest. Raises BadList."""
    entries = list(ENTRY.iter_unpack(listed))
    lengths = [length for length, _ in entries]
    if len(entries) != ref.units or sum(lengths) != ref.size:
        raise BadList(f"its list has {sum(lengths)} bytes in {len(entries)} units")
    if any(not LEAST <= length <= MOST for length in lengths[:-1]) or not 0 <= lengths[-1] <= MOST:
        raise BadList("its list has a unit of a size that none has")
    starts = accumulate(lengths, initial=0)
    return [Unit(start, length, digest) for start, (length, digest) in zip(starts, entries, strict=False)]


def spans(units: Sequence[Unit]) -> Iterator[tuple[int, int]]:
    """Where bytes begin and end that these units cover, neighbours together. They are in order."""
    begin = end = 0
    for unit in units:
        if unit.offset != end:
            if end > begin:
                yield begin, end
            begin = unit.offset
        end = unit.offset + unit.length
    if end > begin:
        yield begin, end


def _cut(file: BinaryIO) -> Iterator[bytes]:
    rest = file.read(_READ)
    if not rest:
        yield rest
    while rest:
        unit = rest[: _length(memoryview(rest)[:MOST])]
        yield unit
        rest = rest[len(unit) :]
        if len(rest) < MOST:
            rest += file.read(_READ)


def _length(data: memoryview) -> int:
    """How much of the next bytes (MOST of them, or all that are left) is one unit."""
    import numpy as np

    if len(data) <= LEAST:
        return len(data)
    cuts = [len(data)]
    for phase in range(4):  # words begin at every byte
        words = np.frombuffer(data[LEAST - _WORD + phase :][: (len(data) - LEAST + _WORD - phase) // 4 * 4], "<u4")
        mixed = (words[:-1] * np.uint32(2_654_435_761)) ^ (words[1:] * np.uint32(2_246_822_519))
        mixed *= np.uint32(3_266_489_917)
        found = np.flatnonzero(mixed < (1 << (32 - _RARITY)))
        if found.size:
            cuts.append(LEAST + phase + 4 * int(found[0]))
    return min(cuts)
