"""The hub's folder on disk: the database, and the lock that keeps a second hub out of it."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cloud_hub.store.database import HubDatabase
from cloud_hub.store.schema import NewerDatabase
from messages.delivery.sqlite import connect

DATABASE: Final = "hub.db"


class FolderError(Exception):
    """The data folder cannot be used: read-only, full, damaged, or in use. The text names it."""


@contextmanager
def opened(folder: Path, *, quarantine_rows: int, dead_rows: int) -> Iterator[HubDatabase]:
    """The database in `folder`, for this process alone; every commit survives a power cut. Raises FolderError."""
    lock = _lock(folder)
    try:
        file = folder / DATABASE
        try:
            connection = connect(file, full=True)
        except sqlite3.Error as error:
            raise FolderError(f"{file}: {error}") from error
        try:
            yield _database(connection, file, quarantine_rows, dead_rows)
        finally:
            connection.close()
    finally:
        os.close(lock)


def reading(folder: Path) -> sqlite3.Connection:
    """A connection that only reads, beside a hub that runs or not. Raises FolderError."""
    file = folder / DATABASE
    if not file.exists():
        raise FolderError(f"{file}: is not there; has this hub ever run?")
    try:
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        connection.execute("SELECT count(*) FROM samples WHERE id < 0")
    except sqlite3.Error as error:
        raise FolderError(f"{file}: {error}") from error
    return connection


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "hub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderError(f"data_dir {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise FolderError(f"data_dir {folder}: another hub is using it; give each its own") from error
        raise FolderError(f"data_dir {folder}: cannot be locked: {error.strerror}") from error
    return lock


def _database(connection: sqlite3.Connection, file: Path, quarantine_rows: int, dead_rows: int) -> HubDatabase:
    try:
        return HubDatabase(connection, quarantine_rows=quarantine_rows, dead_rows=dead_rows)
    except (sqlite3.Error, NewerDatabase) as error:
        raise FolderError(f"{file}: {error}") from error
