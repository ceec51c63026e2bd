"""The hub's database in its own folder."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cloud_hub.store.database import HubDatabase
from cloud_hub.store.schema import migrate
from messages.desk import leftovers
from messages.host.folder import database, in_use, locked, named

DATABASE: Final = "hub.db"


@contextmanager
def opened(folder: Path, *, quarantine_rows: int, dead_rows: int) -> Iterator[HubDatabase]:
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
def writing(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one command that writes, beside a hub that runs or not. Raises FolderError."""
    reading(folder).close()
    file = folder / DATABASE
    with database(file, full=True) as connection:
        if not in_use(folder, "hub"):
            with named(file):
                migrate(connection)
        yield connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what a command writes beside a hub, or undo all of it when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back
        yield
