"""The hub's database in its own folder."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from cloud_hub.store.database import HubDatabase
from cloud_hub.store.schema import current
from messages.desk import leftovers
from messages.host.folder import FolderError, InUse, database, in_use, locked, named, patiently

DATABASE: Final = "hub.db"


@contextmanager
def opened(folder: Path, *, quarantine_rows: int = 1000, dead_rows: int = 10_000) -> Iterator[HubDatabase]:
    """The database in `folder`, for this process alone; every commit survives a power cut. Raises FolderError."""
    file = folder / DATABASE
    with locked(folder, "hub"), database(file, full=True) as connection:
        with named(file):
            store = HubDatabase(connection, quarantine_rows=quarantine_rows, dead_rows=dead_rows)
        yield store


def reading(folder: Path) -> sqlite3.Connection:
    """A connection that only reads, beside a hub that runs or not. Raises FolderError."""
    return leftovers.reading(folder / DATABASE, "hub")


@contextmanager
def writing(folder: Path, *, make: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection for one command that writes, beside a hub that runs, starts or not. Raises FolderError.

    With `make` it may be the first that has need of the database.
    """
    if not make:
        reading(folder).close()
    _prepare(folder)
    with database(folder / DATABASE, full=True) as connection:
        yield connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what a command writes beside a hub, or undo all of it when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back
        yield


def _prepare(folder: Path) -> None:
    """Have the tables as this version knows them: a hub that has the folder makes them itself, at its start."""
    if not in_use(folder, "hub"):
        with suppress(InUse), opened(folder):
            return
    for _ in patiently():
        with suppress(FolderError), closing(reading(folder)) as reader:
            if current(reader):
                return
