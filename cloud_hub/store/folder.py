"""The hub's database in its own folder."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from cloud_hub.store.database import HubDatabase
from cloud_hub.store.schema import NewerDatabase
from messages.delivery.sqlite import connect
from messages.host import leftovers
from messages.host.folder import FolderError, locked

DATABASE: Final = "hub.db"


@contextmanager
def opened(folder: Path, *, quarantine_rows: int, dead_rows: int) -> Iterator[HubDatabase]:
    """The database in `folder`, for this process alone; every commit survives a power cut. Raises FolderError."""
    file = folder / DATABASE
    with locked(folder, "hub"), closing(_connect(file)) as connection:
        yield _database(connection, file, quarantine_rows, dead_rows)


def reading(folder: Path) -> sqlite3.Connection:
    """A connection that only reads, beside a hub that runs or not. Raises FolderError."""
    return leftovers.reading(folder / DATABASE, "hub")


def _connect(file: Path) -> sqlite3.Connection:
    try:
        return connect(file, full=True)
    except sqlite3.Error as error:
        raise FolderError(f"{file}: {error}") from error


def _database(connection: sqlite3.Connection, file: Path, quarantine_rows: int, dead_rows: int) -> HubDatabase:
    try:
        return HubDatabase(connection, quarantine_rows=quarantine_rows, dead_rows=dead_rows)
    except (sqlite3.Error, NewerDatabase) as error:
        raise FolderError(f"{file}: {error}") from error
