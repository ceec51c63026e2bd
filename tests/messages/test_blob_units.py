"""How content is cut: every cut follows from the content, and what is put in shifts no later one for long."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec import structs

from messages.blobs.units import ENTRY, LEAST, MOST, BadList, Unit, parse, spans, whole
from tests.support.blobs import content, referred

BIG = content(3_000_000)


@pytest.mark.parametrize("size", [1, LEAST, LEAST + 1, MOST - 1, MOST, MOST + 1, 2 * MOST, 3_000_000])
@pytest.mark.parametrize("data", [BIG, bytes(3_000_000)], ids=["noise", "zeros"])
def test_units_are_the_content_in_order(size: int, data: bytes) -> None:
    data = data[:size]
    ref, listed = referred(data)
    found = whole(ref)
    assert (found == listed) if ref.units == 1 else (found is None)
    cut = parse(listed, ref)
    assert b"".join(data[unit.offset : unit.offset + unit.length] for unit in cut) == data
    assert ref.size == size
    assert ref.units == len(cut)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2_000_000), st.binary(min_size=1, max_size=40))
def test_bytes_put_in_change_few_units(at: int, more: bytes) -> None:
    ref, listed = referred(BIG)
    old = {unit.digest for unit in parse(listed, ref)}
    ref, listed = referred(BIG[:at] + more + BIG[at:])
    new = [unit for unit in parse(listed, ref) if unit.digest not in old]
    assert sum(unit.length for unit in new) <= 6 * MOST


def test_a_reference_that_no_content_can_have_is_refused() -> None:
    ref, listed = referred(BIG)
    small, _ = referred(b"abc")
    for changed in (
        structs.replace(ref, size=0),
        structs.replace(ref, units=1),
        structs.replace(ref, size=2**52),
        structs.replace(ref, units=2**31),
        structs.replace(small, size=4),
        structs.replace(small, list_sha256=ref.list_sha256),
    ):
        with pytest.raises(BadList):
            whole(changed)
    for entries in (
        listed[: -ENTRY.size],
        listed[:-1] + b"x" + ENTRY.pack(0, bytes(32)),
        ENTRY.pack(ref.size, bytes(32)) + ENTRY.pack(0, bytes(32)) * (ref.units - 1),
    ):
        with pytest.raises(BadList):
            parse(entries, ref)


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=20))
def test_spans_are_what_units_cover(given: list[tuple[int, bool]]) -> None:
    wanted, covered, at = [], set(), 0
    for length, there in given:
        if not there:
            wanted.append(Unit(at, length, b""))
            covered |= set(range(at, at + length))
        at += length
    found = list(spans(wanted))
    assert {byte for begin, end in found for byte in range(begin, end)} == covered
    assert all(first[1] < second[0] for first, second in pairwise(found))
