"""Which files of a folder were processed, and how far: a small database in that folder, so it moves along with it."""

import os
import sqlite3
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

from edge_agent.sources.feed import SourceError

FILE: Final = ".skerry.db"
_LONG: Final = 150


class Found(NamedTuple):
    """A file as a look into the folder found it; one that changed since is not equal."""

    name: str
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: "os.DirEntry[str] | Path") -> Self:
        """The file as it is now. Raises OSError."""
        about = file.stat()
        return cls(file.name, about.st_ino, about.st_size, about.st_mtime_ns)

    @property
    def label(self) -> str:
        """The name as text that can travel, whatever its bytes; a long one keeps its beginning."""
        name = os.fsencode(self.name)
        label = name.decode("utf-8", "replace")
        return label if len(label) <= _LONG else f"{label[:_LONG]}~{sha256(name).hexdigest()[:12]}"

    def sample_id(self, place: str) -> str:
        """The id of one of its samples. When it was written (ms) tells two contents apart that have the same name."""
        return f"{self.label}{place}@{self.mtime_ns // 1_000_000}"


class Progress:
    """How many rows of each file were judged, and which files are finished. Raises SourceError, sqlite3.Error."""

    def __init__(self, folder: Path) -> None:
        try:
            self._connection = sqlite3.connect(folder / FILE, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS files (name BLOB PRIMARY KEY, inode INTEGER, size INTEGER,"
                " mtime_ns INTEGER, rows INTEGER, finished INTEGER) WITHOUT ROWID"
            )
            stored = self._connection.execute("SELECT * FROM files").fetchall()
        except sqlite3.Error as error:
            raise SourceError(f"{folder / FILE}: {error}; what was processed is remembered there") from error
        found = ((Found(os.fsdecode(name), *about), rows, bool(finished)) for name, *about, rows, finished in stored)
        self._known = {item[0].name: item for item in found}

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()

    def finished(self, file: Found) -> bool:
        """Whether this very file was processed to its end."""
        return self._known.get(file.name) == (file, self.rows(file), True)

    def rows(self, file: Found, *, grows: bool = False) -> int:
        """How many rows were judged before: of this very file, or (`grows`) of one that only became longer since."""
        before, rows, _ = self._known.get(file.name, (file, 0, False))
        longer = grows and before.inode == file.inode and before.size < file.size
        return rows if before == file or longer else 0

    def mark(self, file: Found, rows: int) -> None:
        """So many rows are judged."""
        self._write(file, rows, finished=False)

    def finish(self, file: Found) -> None:
        """All that it will be judged for was judged."""
        self._write(file, self.rows(file), finished=True)

    def keep_only(self, names: Collection[str]) -> None:
        """Forget files that are gone."""
        for name in self._known.keys() - set(names):
            del self._known[name]
            self._connection.execute("DELETE FROM files WHERE name = ?", (os.fsencode(name),))

    def _write(self, file: Found, rows: int, *, finished: bool) -> None:
        self._known[file.name] = (file, rows, finished)
        values = (os.fsencode(file.name), *file[1:], rows, finished)
        self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", values)
