"""The agent's database in its own folder."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from messages.delivery.sqlite import SqliteStore, connect
from messages.host.folder import FolderError, locked

DATABASE: Final = "agent.db"


@contextmanager
def opened(folder: Path, *, full: bool) -> Iterator[SqliteStore]:
    """The store in `folder`, for this process alone. `full`: every commit survives a power cut. Raises FolderError."""
    file = folder / DATABASE
    with locked(folder, "agent"), closing(_connect(file, full=full)) as connection:
        yield _store(connection, file)


def _connect(file: Path, *, full: bool) -> sqlite3.Connection:
    try:
        return connect(file, full=full)
    except sqlite3.Error as error:
        raise FolderError(f"{file}: {error}") from error


def _store(connection: sqlite3.Connection, file: Path) -> SqliteStore:
    try:
        return SqliteStore(connection)
    except sqlite3.Error as error:
        raise FolderError(f"{file}: {error}") from error
