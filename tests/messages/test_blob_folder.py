"""Blobs on disk: whole or not there, taken up after a kill, copied instead of fetched, and out of the way in time."""

import os
from pathlib import Path

import pytest
from msgspec import structs

from messages.blobs.folder import BlobRefused, Folder, NoRoom
from messages.blobs.units import parse
from messages.shapes import BlobRef
from tests.support.blobs import content, referred

DATA = content(1_000_000)
REF, LISTED = referred(DATA)
UNITS = parse(LISTED, REF)


def folder(path: Path, most: int = 1 << 30) -> Folder:
    return Folder(path / "blobs", most=most, reserve=0)


def write(blobs: Folder, ref: BlobRef, data: bytes, numbers: range) -> None:
    """What a fetch does."""
    for unit in [parse(referred(data)[1], ref)[n] for n in numbers]:
        blobs.write(ref, unit, data[unit.offset : unit.offset + unit.length])
    blobs.close(ref)


def test_what_is_added_is_found_and_served_with_its_list(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.write_bytes(DATA)
    blobs = folder(tmp_path)
    assert blobs.add(source) == REF == blobs.put(DATA)
    for again in (blobs, folder(tmp_path)):
        file = again.find(REF.sha256)
        assert file is not None
        assert file.read_bytes() == DATA
        assert again.read(REF.sha256, 1000, 50) == DATA[1000:1050]
        assert again.read(REF.sha256, REF.size - 5, 50) == DATA[-5:]
        assert again.read(REF.list_sha256, 0, 1000) == LISTED
        assert again.read(REF.sha256, REF.size, 50) is None
        assert again.read("0" * 64, 0, 50) is None
        assert again.blob_of(REF.list_sha256) == again.blob_of(REF.sha256) == REF.sha256
    blobs.drop(REF.sha256)
    assert (blobs.find(REF.sha256), blobs.read(REF.list_sha256, 0, 9), blobs.names()) == (None, None, set())


def test_after_a_kill_only_what_is_right_counts(tmp_path: Path) -> None:
    write(folder(tmp_path), REF, DATA, range(4))
    part = tmp_path / "blobs" / f"{REF.sha256}.part"
    with part.open("r+b") as file:
        file.seek(UNITS[1].offset + 7)
        file.write(b"rotten")
    blobs = folder(tmp_path)
    assert blobs.find(REF.sha256) is None
    assert blobs.resume(REF, UNITS) == {0, 2, 3}
    write(blobs, REF, DATA, range(1, 2))
    write(blobs, REF, DATA, range(4, len(UNITS)))
    assert blobs.finish(REF, LISTED).read_bytes() == DATA
    assert not part.exists()


def test_equal_units_of_other_blobs_are_copied(tmp_path: Path) -> None:
    new = DATA[:500_000] + b"a new head" + DATA[500_000:]
    ref, listed = referred(new)
    units = parse(listed, ref)
    blobs = folder(tmp_path)
    blobs.put(DATA)
    there = folder(tmp_path).resume(ref, units)
    assert 1 <= len(units) - len(there) <= 4
    write(blobs, ref, new, range(len(units)))
    assert blobs.finish(ref, listed).read_bytes() == new
    blobs.drop(REF.sha256)
    os.truncate(tmp_path / "blobs" / ref.sha256, 0)
    assert blobs.resume(REF, UNITS) == set()


def test_units_that_are_right_and_a_whole_that_is_not_are_refused(tmp_path: Path) -> None:
    blobs = folder(tmp_path)
    liar = structs.replace(REF, sha256="0" * 64)
    write(blobs, liar, DATA, range(len(UNITS)))
    with pytest.raises(BlobRefused, match="another digest"):
        blobs.finish(liar, LISTED)
    assert blobs.names() == set()


def test_the_least_used_make_room_but_not_what_is_kept(tmp_path: Path) -> None:
    blobs = folder(tmp_path, most=3_500_000)
    refs = [blobs.put(content(1_000_000, seed)) for seed in range(3)]
    for age, ref in zip((30, 10, 20), refs, strict=True):
        os.utime(tmp_path / "blobs" / ref.sha256, (1e9 - age, 1e9 - age))
    blobs.put(content(1_000_000, 3), keep={refs[0].sha256})
    assert [blobs.find(ref.sha256) is not None for ref in refs] == [True, True, False]
    with pytest.raises(NoRoom, match="no room"):
        blobs.make_room(structs.replace(REF, size=4_000_000), {refs[0].sha256})
    with pytest.raises(NoRoom):
        Folder(tmp_path / "blobs", most=1 << 60, reserve=1 << 60).make_room(REF, ())


def test_a_full_disk_says_so_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = folder(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(NoRoom, match="No space left on device"):
        write(blobs, REF, DATA, range(1))
