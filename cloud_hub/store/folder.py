"""The hub's database in its own folder."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from cloud_hub.store.database import HubDatabase
from cloud_hub.store.schema import NewerDatabase, migrate
from messages.delivery.sqlite import connect
from messages.host import leftovers
from messages.host.folder import FolderError, in_use, locked

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


@contextmanager
def writing(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one command that writes, beside a hub that runs or not. Raises FolderError."""
    reading(folder).close()
    file = folder / DATABASE
    with closing(_connect(file)) as connection:
        if not in_use(folder, "hub"):
            _migrate(connection, file)
        yield connection


def _connect(file: Path) -> sqlite3.Connection:
    try:
        return connect(file, full=True)
    except sqlite3.Error as error:
        raise FolderError(f"{file}: {error}") from error


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    try:
        migrate(connection)
    except (sqlite3.Error, NewerDatabase) as error:
        raise FolderError(f"{file}: {error}") from error


def _database(connection: sqlite3.Connection, file: Path, quarantine_rows: int, dead_rows: int) -> HubDatabase:
    try:
        return HubDatabase(connection, quarantine_rows=quarantine_rows, dead_rows=dead_rows)
    except (sqlite3.Error, NewerDatabase) as error:
        raise FolderError(f"{file}: {error}") from error
