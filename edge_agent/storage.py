"""The agent's folder on disk: the database, and the lock that keeps a second process out of it."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from messages.delivery.sqlite import SqliteStore, connect


class StorageError(Exception):
    """The data folder cannot be used: read-only, full, damaged, or in use. The text names it."""


@contextmanager
def opened(folder: Path, *, full: bool) -> Iterator[SqliteStore]:
    """The store in `folder`, for this process alone. `full`: every commit survives a power cut. Raises StorageError."""
    file = folder / "agent.db"
    lock = _lock(folder)
    try:
        connection = _connect(file, full=full)
        try:
            yield _store(connection, file)
        finally:
            connection.close()
    finally:
        os.close(lock)


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"data_dir {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise StorageError(f"data_dir {folder}: another agent is using it; give each its own") from error
        raise StorageError(f"data_dir {folder}: cannot be locked: {error.strerror}") from error
    return lock


def _connect(file: Path, *, full: bool) -> sqlite3.Connection:
    try:
        return connect(file, full=full)
    except sqlite3.Error as error:
        raise StorageError(f"{file}: {error}") from error


def _store(connection: sqlite3.Connection, file: Path) -> SqliteStore:
    try:
        return SqliteStore(connection)
    except sqlite3.Error as error:
        raise StorageError(f"{file}: {error}") from error
