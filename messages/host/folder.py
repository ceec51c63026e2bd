"""A program's own folder on disk: the lock that keeps a second process out of it, and the database that lies there."""

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from messages.delivery.sqlite import connect

PATIENCE_S: Final = 1.0
"""So long a program waits for a command beside it, which has the folder or makes its tables for a moment."""

_PAUSE_S: Final = 0.02


class FolderError(Exception):
    """The data folder cannot be used: read-only, full, damaged, or in use. The text names it."""


class InUse(FolderError):
    """Another process of this program has the folder."""


@contextmanager
def locked(folder: Path, program: str) -> Iterator[None]:
    """Make the folder if need be, and keep it for this process alone. Waits PATIENCE_S. Raises FolderError."""
    lock = _lock(folder, program)
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def database(file: Path, *, full: bool) -> Iterator[sqlite3.Connection]:
    """A connection to a program's database; with `full` every commit survives a power cut. Raises FolderError."""
    with named(file):
        connection = connect(file, full=full)
    with closing(connection):
        yield connection


@contextmanager
def named(file: Path) -> Iterator[None]:
    """Say of which file it is that SQLite complains. Raises FolderError."""
    try:
        yield
    except sqlite3.Error as error:
        raise FolderError(f"{file}: {error}") from error


def patiently() -> Iterator[None]:
    """Tries, one after the other with a pause, for PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    yield
    while time.monotonic() < end:
        time.sleep(_PAUSE_S)
        yield


def there(path: Path) -> bool:
    """Whether something is there, as far as this user may know."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def in_use(folder: Path, program: str) -> bool:
    """Whether a process has the folder now. Makes nothing."""
    try:
        lock = os.open(folder / f"{program}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _lock(folder: Path, program: str) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / f"{program}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderError(f"data_dir {folder}: {error.strerror}") from error
    try:
        if any(_taken(lock) for _ in patiently()):
            return lock
    except OSError as error:
        os.close(lock)
        raise FolderError(f"data_dir {folder}: cannot be locked: {error.strerror}") from error
    os.close(lock)
    raise InUse(f"data_dir {folder}: another {program} is using it; give each its own")


def _taken(lock: int) -> bool:
    """Whether this process has the lock now. Raises OSError where there are no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
