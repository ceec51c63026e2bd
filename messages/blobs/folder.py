"""Blobs as files, each under its digest. What has that name is whole and verified; `.part` is what has come so far.

Beside a blob lies its list of units (`.list`). All methods block.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from hashlib import file_digest, sha256
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

from messages.blobs import units as cuts
from messages.blobs.units import Unit
from messages.shapes import BlobRef

PART: Final = ".part"
LIST: Final = ".list"


class BlobError(Exception):
    """A blob cannot be had. The text says which, and why."""


class NoRoom(BlobError):
    """There is no room for it now."""


class BlobRefused(BlobError):
    """It is not what its reference says, or it is too large: asking again would not help."""


class Folder:
    """A folder of blobs, with at most `most` bytes in them, which leaves `reserve` bytes of the disk free."""

    def __init__(self, path: Path, *, most: int, reserve: int = 16 << 20) -> None:
        self._path = path
        self._most = most
        self.reserve = reserve
        self._lists: dict[str, str] = {}
        self._known: dict[bytes, tuple[str, Unit]] = {}
        self._open: dict[str, int] = {}
        self._adding = Lock()
        path.mkdir(parents=True, exist_ok=True)
        for file in path.glob(f"*{LIST}"):
            self._index(file.stem, file.read_bytes())

    def find(self, name: str) -> Path | None:
        """The file of a blob, which counts as used now; None when it is not here (as a whole)."""
        file = self._path / name
        with suppress(OSError):
            os.utime(file)
            return file
        return None

    def read(self, name: str, offset: int, length: int) -> bytes | None:
        """Bytes of a blob, or of the list with this digest; None when there are none."""
        file = self._path / (self._lists[name] + LIST if name in self._lists else name)
        try:
            with file.open("rb", buffering=0) as opened:
                opened.seek(offset)
                return opened.read(length) or None
        except OSError:
            return None

    def add(self, source: Path, keep: Collection[str] = ()) -> BlobRef:
        """Take a file's content in; others may go for it, but none of `keep`. Raises OSError, NoRoom."""
        with source.open("rb") as file:
            return self._take(file, keep)

    def put(self, data: bytes, keep: Collection[str] = ()) -> BlobRef:
        """Take bytes in, as `add`. Raises NoRoom."""
        return self._take(BytesIO(data), keep)

    def make_room(self, ref: BlobRef, keep: Collection[str]) -> None:
        """Let the blobs go that were not used for longest, none of `keep`, until this one fits. Raises NoRoom."""
        files = sorted((found.st_mtime, file, found.st_blocks * 512) for file, found in self._files())
        held = sum(size for _, file, size in files if file.stem != ref.sha256)
        more = ref.size - sum(size for _, file, size in files if file.stem == ref.sha256)
        for _, file, size in files:
            if self._fits(held + ref.size, more):
                return
            if file.suffix != LIST and file.stem not in keep and file.stem != ref.sha256:
                held -= size
                self.drop(file.stem)
        if not self._fits(held + ref.size, more):
            raise NoRoom(f"blob {ref.sha256[:12]} of {ref.size} bytes: no room in {self._path}")

    def resume(self, ref: BlobRef, units: Sequence[Unit]) -> set[int]:
        """The numbers of the units that are here: of what came before a restart, or of other blobs, copied."""
        there = set()
        for number, unit in enumerate(units):
            data = self._piece(ref.sha256 + PART, unit)
            if data is None and unit.digest in self._known:
                other, same = self._known[unit.digest]
                data = self._piece(other, same)
                if data is not None:
                    self.write(ref, unit, data)
            if data is not None:
                there.add(number)
        return there

    def write(self, ref: BlobRef, unit: Unit, data: bytes) -> None:
        """Keep a unit that was verified. Raises NoRoom."""
        try:
            if ref.sha256 not in self._open:
                part = self._path / f"{ref.sha256}{PART}"
                self._open[ref.sha256] = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._open[ref.sha256], data, unit.offset)
        except OSError as error:
            raise NoRoom(f"blob {ref.sha256[:12]}: {self._path}: {error.strerror}") from error

    def close(self, ref: BlobRef) -> None:
        """No more is written of a blob; what is there stays for another time."""
        with suppress(KeyError):
            os.close(self._open.pop(ref.sha256))

    def finish(self, ref: BlobRef, listed: bytes) -> Path:
        """All units have come: look at the whole, and give it its name. Raises BlobRefused, NoRoom."""
        self.close(ref)
        part, file = self._path / f"{ref.sha256}{PART}", self._path / ref.sha256
        try:
            with part.open("r+b") as content:
                content.truncate(ref.size)
                if file_digest(content, "sha256").hexdigest() != ref.sha256:
                    part.unlink()
                    raise BlobRefused("its units are right, and the whole has another digest")
                os.fsync(content.fileno())
            file.with_suffix(LIST).write_bytes(listed)
            part.rename(file)
            self._sync()
        except OSError as error:
            raise NoRoom(f"blob {ref.sha256[:12]}: {self._path}: {error.strerror}") from error
        self._index(ref.sha256, listed)
        return file

    def drop(self, name: str) -> None:
        """Forget a blob, whole or not."""
        for end in ("", LIST, PART):
            (self._path / f"{name}{end}").unlink(missing_ok=True)
        self._lists = {listed: blob for listed, blob in self._lists.items() if blob != name}
        self._known = {digest: place for digest, place in self._known.items() if place[0] != name}

    def names(self) -> set[str]:
        """The digests of all blobs that are here, whole or not."""
        return {file.stem for file in self._path.iterdir()}

    def blob_of(self, name: str) -> str:
        """The blob that a digest stands for: that of a list is its blob's."""
        return self._lists.get(name, name)

    def _take(self, file: BinaryIO, keep: Collection[str]) -> BlobRef:
        with self._adding:
            ref, listed = cuts.describe(file)
            if self.find(ref.sha256) is None:
                self.make_room(ref, keep)
                file.seek(0)
                try:
                    with (self._path / f"{ref.sha256}{PART}").open("wb") as part:
                        shutil.copyfileobj(file, part, cuts.MOST)
                except OSError as error:
                    self.drop(ref.sha256)
                    raise NoRoom(f"{self._path}: {error.strerror}") from error
                self.finish(ref, listed)
        return ref

    def _index(self, name: str, listed: bytes) -> None:
        if len(listed) % cuts.ENTRY.size:
            return
        self._lists[sha256(listed).hexdigest()] = name
        offset = 0
        for length, digest in cuts.ENTRY.iter_unpack(listed):
            self._known[digest] = name, Unit(offset, length, digest)
            offset += length

    def _piece(self, name: str, unit: Unit) -> bytes | None:
        data = self.read(name, unit.offset, unit.length)
        return data if data is not None and sha256(data).digest() == unit.digest else None

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for file in self._path.iterdir():
            with suppress(FileNotFoundError):  # another thread may have dropped it
                yield file, file.stat()

    def _fits(self, held: int, more: int) -> bool:
        return held <= self._most and shutil.disk_usage(self._path).free - self.reserve >= more

    def _sync(self) -> None:
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
