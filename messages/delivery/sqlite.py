"""The store in SQLite: what delivery keeps survives kills, and with `full` synchronisation power cuts too."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import json, msgpack

from messages.delivery.rows import Draft, Entry, Kind, Outcome, Quarantined, Row, StreamState, Totals
from messages.delivery.store import StoreFull

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, peer TEXT NOT NULL, path TEXT NOT NULL, job TEXT NOT NULL,
    kind TEXT NOT NULL, urgency INTEGER NOT NULL, natural_key TEXT, slot TEXT NOT NULL, rank REAL NOT NULL,
    created REAL NOT NULL, not_before REAL NOT NULL DEFAULT 0, size INTEGER NOT NULL,
    stream TEXT NOT NULL DEFAULT '', seq INTEGER NOT NULL DEFAULT -1, body BLOB NOT NULL,
    blob TEXT NOT NULL DEFAULT '',
    UNIQUE (peer, path, job, natural_key)) STRICT;
CREATE INDEX IF NOT EXISTS outbox_fresh ON outbox (peer, urgency, id) WHERE stream = '';
CREATE INDEX IF NOT EXISTS outbox_window ON outbox (peer, stream, seq) WHERE stream != '';
CREATE INDEX IF NOT EXISTS outbox_worst ON outbox (kind, rank, id) WHERE stream = '';
CREATE TABLE IF NOT EXISTS inbox (
    peer TEXT NOT NULL, stream TEXT NOT NULL, low INTEGER NOT NULL, seen BLOB NOT NULL, touched REAL NOT NULL,
    PRIMARY KEY (peer, stream)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (
    peer TEXT NOT NULL, job TEXT NOT NULL, path TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
    number INTEGER NOT NULL, PRIMARY KEY (peer, job, path, outcome, reason)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, reason TEXT NOT NULL, peer TEXT NOT NULL,
    path TEXT NOT NULL, job TEXT NOT NULL, kind TEXT NOT NULL, natural_key TEXT, event_id TEXT NOT NULL,
    body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL,
    size INTEGER NOT NULL, head BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS handed (
    job TEXT NOT NULL, event_id TEXT NOT NULL, content BLOB NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (job, event_id)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS handed_age ON handed (at);
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""

LATER = (("outbox", "blob", "TEXT NOT NULL DEFAULT ''"),)
"""Columns that a database of an earlier version lacks: table, name and type."""

INDEXES = "CREATE INDEX IF NOT EXISTS outbox_blobs ON outbox (blob) WHERE blob != ''"

_ROW = "id, peer, path, job, kind, size, created, rank, stream, seq, natural_key, blob"
_FULL = ("full", "readonly", "read-only", "disk i/o", "unable to open")


def connect(path: Path, *, full: bool) -> sqlite3.Connection:
    """Open a database file in WAL mode. `full`: every commit survives a power cut; else only the last ones may go."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
    return connection


class SqliteStore:
    """All that delivery keeps, in one SQLite database that others may share through `transaction`.

    `quarantine_rows` and `dead_rows` bound what is kept for people to look at.
    """

    def __init__(self, connection: sqlite3.Connection, *, quarantine_rows: int = 1000, dead_rows: int = 10_000) -> None:
        self.connection = connection
        self._sql = connection.execute
        self._quarantine_rows = quarantine_rows
        self._dead_rows = dead_rows
        self._counts: dict[Entry, int] = {}
        self._depth = 0
        self._totals: dict[Kind, list[int]] = {}
        connection.executescript(SCHEMA)
        for table, column, kind in LATER:
            if column not in [name for _, name, *_ in self._sql(f"PRAGMA table_info({table})")]:
                self._sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._sql(INDEXES)
        self._count_totals()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside, or undo all of it when it raises. Raises StoreFull when there is no room."""
        if self._depth:
            yield
            return
        try:
            self._sql("BEGIN IMMEDIATE")
            self._depth = 1
            yield
            self._write_counts()
            self._sql("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.OperationalError) and any(word in str(error).lower() for word in _FULL):
                raise StoreFull(str(error)) from error
            raise
        finally:
            self._depth = 0

    def latest(self) -> float:
        """The highest run time that any row knows, in seconds; a process counts on from there."""
        times = "SELECT max(created) FROM outbox", "SELECT max(touched) FROM inbox", "SELECT max(at) FROM handed"
        return max(float(self._sql(time).fetchone()[0] or 0.0) for time in times)

    # outbox

    def put(self, draft: Draft) -> bool:
        cursor = self._sql(
            "INSERT INTO outbox (peer, path, job, kind, urgency, natural_key, slot, rank, created, size, body, blob)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (draft.peer, draft.path, draft.job, draft.kind, draft.urgency, draft.key or None, draft.slot,
             draft.rank, draft.created, draft.size, draft.body, draft.blob),
        )  # fmt: skip
        if cursor.rowcount != 1:
            return False
        self._add(draft.kind, 1, draft.size)
        return True

    def unsent(self, draft: Draft) -> Row | None:
        rows = self._rows(
            "stream = '' AND peer = ? AND path = ? AND job = ? AND slot = ? ORDER BY id LIMIT 1",
            (draft.peer, draft.path, draft.job, draft.slot),
        )
        return rows[0] if rows else None

    def find(self, peer: str, path: str, job: str, key: str) -> Row | None:
        rows = self._rows("peer = ? AND path = ? AND job = ? AND natural_key = ?", (peer, path, job, key))
        return rows[0] if rows else None

    def fresh(self, peer: str, limit: int, now: float) -> Sequence[Row]:
        where = "stream = '' AND peer = ? AND not_before <= ? ORDER BY urgency, id LIMIT ?"
        return self._rows(where, (peer, now, limit))

    def windowed(self, peer: str) -> Sequence[Row]:
        return self._rows("stream != '' AND peer = ? ORDER BY stream, seq", (peer,))

    def enter(self, row: int, stream: str, seq: int) -> None:
        self._sql("UPDATE outbox SET stream = ?, seq = ? WHERE id = ?", (stream, seq, row))

    def park(self, row: int, until: float) -> None:
        self._sql("UPDATE outbox SET stream = '', seq = -1, not_before = ? WHERE id = ?", (until, row))

    def body(self, row: int) -> bytes:
        return bytes(self._sql("SELECT body FROM outbox WHERE id = ?", (row,)).fetchone()[0])

    def remove(self, row: int) -> None:
        found = self._sql("DELETE FROM outbox WHERE id = ? RETURNING kind, size", (row,)).fetchone()
        if found is not None:
            self._add(Kind(found[0]), -1, -found[1])

    def needs(self, blob: str) -> bool:
        return self._sql("SELECT 1 FROM outbox WHERE blob = ? AND blob != '' LIMIT 1", (blob,)).fetchone() is not None

    def blobs(self) -> Sequence[str]:
        return [name for (name,) in self._sql("SELECT DISTINCT blob FROM outbox WHERE blob != ''")]

    def worst(self, kind: Kind, limit: int) -> Sequence[Row]:
        return self._rows("stream = '' AND kind = ? ORDER BY rank, id LIMIT ?", (kind, limit))

    def aged(self, kind: Kind, before: float, limit: int) -> Sequence[Row]:
        return self._rows("stream = '' AND kind = ? AND created < ? ORDER BY id LIMIT ?", (kind, before, limit))

    def totals(self, kind: Kind, peer: str | None = None) -> Totals:
        if peer is None:
            return Totals(*self._totals[kind])
        sql = "SELECT count(*), coalesce(sum(size), 0) FROM outbox WHERE kind = ? AND peer = ?"
        return Totals(*self._sql(sql, (kind, peer)).fetchone())

    def peers(self) -> Sequence[str]:
        return [name for (name,) in self._sql("SELECT DISTINCT peer FROM outbox ORDER BY peer")]

    def bury(self, row: Row, reason: str, at: int) -> None:
        self._sql(
            "INSERT INTO dead_letters (at, reason, peer, path, job, kind, natural_key, event_id, body)"
            " SELECT ?, ?, peer, path, job, kind, natural_key, ?, body FROM outbox WHERE id = ?",
            (at, reason, row.event_id, row.id),
        )
        self._trim("dead_letters", self._dead_rows)

    # inbox

    def load_stream(self, peer: str, stream: str) -> StreamState | None:
        sql = "SELECT low, seen, touched FROM inbox WHERE peer = ? AND stream = ?"
        found = self._sql(sql, (peer, stream)).fetchone()
        return None if found is None else StreamState(found[0], _SEEN.decode(found[1]), found[2])

    def save_stream(self, peer: str, stream: str, state: StreamState) -> None:
        seen = msgpack.encode(state.seen)
        self._sql("INSERT OR REPLACE INTO inbox VALUES (?, ?, ?, ?, ?)", (peer, stream, state.low, seen, state.touched))

    def forget_streams(self, peer: str, keep: Sequence[str], before: float) -> None:
        sql = "DELETE FROM inbox WHERE peer = ? AND touched < ? AND stream NOT IN (SELECT value FROM json_each(?))"
        self._sql(sql, (peer, before, json.encode(keep).decode()))

    def quarantine(self, item: Quarantined) -> None:
        sql = "INSERT INTO quarantine (at, topic, reason, size, head) VALUES (?, ?, ?, ?, ?)"
        self._sql(sql, (item.at, item.topic, item.reason, item.size, item.head))
        self._trim("quarantine", self._quarantine_rows)

    # books

    def count(self, entry: Entry, number: int = 1) -> None:
        self._counts[entry] = self._counts.get(entry, 0) + number

    def ledger(self) -> dict[Entry, int]:
        lines: dict[Entry, int] = {}
        for peer, job, path, outcome, reason, number in self._sql("SELECT * FROM ledger"):
            lines[Entry(peer, job, path, Outcome(outcome), reason)] = number
        for entry, number in self._counts.items():
            lines[entry] = lines.get(entry, 0) + number
        return lines

    def recall(self, name: str) -> int:
        found = self._sql("SELECT value FROM numbers WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def record(self, name: str, value: int) -> None:
        self._sql("INSERT OR REPLACE INTO numbers VALUES (?, ?)", (name, value))

    # what apps handed in

    def remember(self, job: str, event_id: str, content: bytes, now: float) -> None:
        self._sql("INSERT OR REPLACE INTO handed VALUES (?, ?, ?, ?)", (job, event_id, content, now))

    def remembered(self, job: str, event_id: str) -> bytes | None:
        sql = "SELECT content FROM handed WHERE job = ? AND event_id = ?"
        found = self._sql(sql, (job, event_id)).fetchone()
        return None if found is None else bytes(found[0])

    def forget_remembered(self, before: float, most: int) -> None:
        last = self._sql("SELECT at FROM handed ORDER BY at DESC LIMIT 1 OFFSET ?", (most,)).fetchone()
        self._sql("DELETE FROM handed WHERE at < ? OR at <= ?", (before, -1.0 if last is None else last[0]))

    # documents

    def keep(self, name: str, body: bytes) -> None:
        self._sql("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, body))

    def kept(self, name: str) -> bytes | None:
        found = self._sql("SELECT body FROM kept WHERE name = ?", (name,)).fetchone()
        return None if found is None else bytes(found[0])

    @contextmanager
    def synced(self) -> Iterator[None]:
        """A transaction that survives a power cut, however the others are kept."""
        (level,) = self._sql("PRAGMA synchronous").fetchone()
        self._sql("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                yield
        finally:
            self._sql(f"PRAGMA synchronous = {level}")

    def _write_counts(self) -> None:
        if not self._counts:
            return
        self.connection.executemany(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
            [(e.peer, e.job, e.path, e.outcome, e.reason, number) for e, number in self._counts.items()],
        )
        self._counts.clear()

    def _roll_back(self) -> None:
        self._counts.clear()
        if self.connection.in_transaction:
            self._sql("ROLLBACK")
        self._count_totals()

    def _rows(self, where: str, values: tuple[Any, ...]) -> list[Row]:
        found = self._sql(f"SELECT {_ROW} FROM outbox WHERE {where}", values)  # noqa: S608  # `where` is ours
        return [
            Row(i, p, c, j, Kind(k), s, t, r, st, q, key or "", blob)
            for i, p, c, j, k, s, t, r, st, q, key, blob in found
        ]

    def _trim(self, table: str, rows: int) -> None:
        sql = f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?"  # noqa: S608  # `table` is ours
        self._sql(sql, (rows,))

    def _add(self, kind: Kind, rows: int, size: int) -> None:
        totals = self._totals[kind]
        totals[0] += rows
        totals[1] += size

    def _count_totals(self) -> None:
        self._totals = {kind: [0, 0] for kind in Kind}
        for kind, rows, size in self._sql("SELECT kind, count(*), sum(size) FROM outbox GROUP BY kind"):
            self._totals[Kind(kind)] = [rows, size]


_SEEN = msgpack.Decoder(dict[int, bytes])
