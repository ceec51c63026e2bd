"""What a person does with dead letters and quarantine: look, try again, throw away. The same tables at both ends.

Looking and throwing away work beside a running program. Trying again does not: it keeps its counts in memory.
"""

import datetime as dt
import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from messages.codec import Format, form_of
from messages.delivery.rows import Draft, Entry, Kind, Outcome
from messages.delivery.sqlite import SqliteStore
from messages.host.folder import FolderError, named, there

Table = Literal["dead_letters", "quarantine"]

RETRIED: Final = "retried"
"""The reason in the ledger: a dead letter that is tried again counts as created again."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Page(Struct, frozen=True, kw_only=True):
    """Which rows of a list: those behind the row `after`, since a time (ms), of one job; at most `limit`."""

    after: int = 0
    limit: int = 50
    since: int = 0
    job: str = ""


class DeadLetter(Struct, frozen=True):
    """A message that the other end refused or never receipted. `at` is this machine's clock in ms."""

    id: int
    at: int
    peer: str
    path: str
    job: str
    key: str
    reason: str
    size: int


class BadBytes(Struct, frozen=True):
    """Bytes from outside that could not be used. `at` is this machine's clock in ms."""

    id: int
    at: int
    topic: str
    reason: str
    size: int


_LETTER: Final = "SELECT id, at, peer, path, job, coalesce(natural_key, ''), reason, length(body) FROM dead_letters"
_BAD: Final = "SELECT id, at, topic, reason, size FROM quarantine"


def reading(file: Path, program: str) -> sqlite3.Connection:
    """A connection that only reads, beside a program that runs or not. Raises FolderError."""
    if not there(file):
        raise FolderError(f"{file}: is not there; has this {program} ever run?")
    with named(file):
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        connection.execute("SELECT count(*) FROM outbox WHERE id < 0")
    return connection


def dead_letters(reader: sqlite3.Connection, page: Page) -> list[DeadLetter]:
    """Dead letters, oldest first."""
    where = " WHERE id > ? AND at >= ? AND ? IN ('', job) ORDER BY id LIMIT ?"
    found = reader.execute(_LETTER + where, (page.after, page.since, page.job, page.limit))
    return [DeadLetter(*row) for row in found]


def quarantine(reader: sqlite3.Connection, page: Page) -> list[BadBytes]:
    """What is in quarantine, oldest first."""
    where = " WHERE id > ? AND at >= ? ORDER BY id LIMIT ?"
    return [BadBytes(*row) for row in reader.execute(_BAD + where, (page.after, page.since, page.limit))]


def show(reader: sqlite3.Connection, table: Table, number: int) -> dict[str, Any]:
    """One row with its content as plain data. Raises KeyError."""
    select, content = (_LETTER, "body") if table == "dead_letters" else (_BAD, "head")
    found = reader.execute(f"{select} WHERE id = ?", (number,)).fetchone()
    if found is None:
        raise KeyError(number)
    row = DeadLetter(*found) if table == "dead_letters" else BadBytes(*found)
    (body,) = reader.execute(f"SELECT {content} FROM {table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
    return {**msgspec.to_builtins(row), content: _plain(body) if content == "body" else body}


def drop(file: Path, table: Table, numbers: Sequence[int] | None) -> int:
    """Throw rows away (None: all), beside a running program or not; returns how many went. Raises sqlite3.Error."""
    where, values = _among(numbers)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(f"DELETE FROM {table}{where}", values).rowcount  # noqa: S608  # `table` is ours


def retry(store: SqliteStore, numbers: Sequence[int] | None) -> list[int]:
    """Put dead letters (None: all) back into the outbox; returns the rows that went.

    One whose natural key waits there already stays. The store's program must not run: see the module.
    """
    where, values = _among(numbers)
    columns = "id, peer, path, job, kind, body, coalesce(natural_key, '')"
    with store.transaction():
        found = store.connection.execute(f"SELECT {columns} FROM dead_letters{where}", values)  # noqa: S608
        return [row[0] for row in found.fetchall() if _back(store, *row)]


def since(text: str, now: int) -> int:
    """A time in ms from "90s", "15m", "2h", "3d" (ago) or from a date or date and time. Raises ValueError."""
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    if ago:
        return now - 1000 * int(ago[1]) * _UNITS[ago[2]]
    try:
        return int(dt.datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except ValueError:
        raise ValueError(f"{text!r}: write 90s, 15m, 2h or 3d, or a time like 2026-11-24T08:00") from None


def moment(at: int) -> str:
    """A time in ms as people write it, in the machine's own zone; as a number where it is out of all range."""
    try:
        return dt.datetime.fromtimestamp(at / 1000.0).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return str(at)


def cells(row: Struct) -> list[str]:
    """A row of a list as text for a table."""
    values = msgspec.structs.asdict(row)
    return [moment(value) if name.endswith("at") and value else _cell(value) for name, value in values.items()]


def described(row: dict[str, Any]) -> list[str]:
    """One row with its content as text for a person: a line for each field, long values cut."""
    return [f"{name}: {moment(value) if name == 'at' else value!s:.2000}" for name, value in row.items()]


def _cell(value: object) -> str:
    if isinstance(value, Struct):
        return msgspec.json.encode(value).decode()[:80]
    return "" if value is None else str(value)[:200]


def _back(store: SqliteStore, number: int, *row: Any) -> bool:
    peer, path, job, kind, body, key = row
    draft = Draft(peer=peer, path=path, job=job, kind=Kind(kind), body=body, created=store.latest(), key=key)
    if not store.put(draft):
        return False
    store.count(Entry(peer, job, path, Outcome.CREATED, RETRIED))
    store.connection.execute("DELETE FROM dead_letters WHERE id = ?", (number,))
    return True


def _among(numbers: Iterable[int] | None) -> tuple[str, tuple[str, ...]]:
    if numbers is None:
        return "", ()
    return " WHERE id IN (SELECT value FROM json_each(?))", (msgspec.json.encode(list(numbers)).decode(),)


def _plain(body: bytes) -> Any:
    """A body as `encode_body` wrote it, as plain data."""
    return msgspec.json.decode(body) if form_of(body) is Format.JSON else msgspec.msgpack.decode(body)
