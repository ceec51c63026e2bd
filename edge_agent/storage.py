"""The agent's database in its own folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from messages.delivery.sqlite import SqliteStore
from messages.host.folder import database, locked, named

DATABASE: Final = "agent.db"


@contextmanager
def opened(folder: Path, *, full: bool) -> Iterator[SqliteStore]:
    """The store in `folder`, for this process alone. `full`: every commit survives a power cut. Raises FolderError."""
    file = folder / DATABASE
    with locked(folder, "agent"), database(file, full=full) as connection:
        with named(file):
            store = SqliteStore(connection)
        yield store
