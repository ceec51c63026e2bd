"""The hub's database: what delivery keeps, and beside it, in the same transactions, samples, nodes and jobs."""

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from msgspec import json, msgpack

from cloud_hub.store.figures import FigureTables
from cloud_hub.store.protocol import Added, NodeRecord, SampleTotals, Verdict, Waiting
from cloud_hub.store.schema import migrate
from cloud_hub.store.wanted import WantedTables
from messages.delivery.sqlite import SqliteStore
from messages.host.folder import FolderError
from messages.shapes import HardSample, NodeStatus, Tensor, Value

EVENT_ROWS: Final = 10_000
"""How many lines of the jobs' audit are kept."""

_TRIM_EVERY: Final = 256

_CHECKPOINT_PAGES: Final = 4000
"""So many pages of 4 KB stand in the log before they go to their places: each time costs two more syncs."""

_WAITING: Final = (
    "SELECT id, node, job, sample_id, dtype, shape, data, encoding, received_at FROM samples"
    " WHERE answered_at IS NULL AND "
)
_OF_ROWS: Final = _WAITING + "id IN (SELECT value FROM json_each(?)) ORDER BY id"
_OF_JOB: Final = _WAITING + "job = ? ORDER BY id LIMIT ?"
_OF_JOB_BUT: Final = _WAITING + "job = ? AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY id LIMIT ?"
_ADD: Final = (
    "INSERT INTO samples (node, job, sample_id, received_at, taken_at, reason, rank, audit, edge_model, edge, digest,"
    " size, dtype, shape, data, encoding)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)

_encode = msgpack.Encoder().encode
_decode_value = msgpack.Decoder(Value).decode
_decode_status = json.Decoder(NodeStatus).decode


class HubDatabase(SqliteStore, FigureTables, WantedTables):
    """Implements `cloud_hub.store.protocol.HubStore`. `quarantine_rows` and `dead_rows` bound what people look at."""

    def __init__(self, connection: sqlite3.Connection, *, quarantine_rows: int = 1000, dead_rows: int = 10_000) -> None:
        migrate(connection)
        super().__init__(connection, quarantine_rows=quarantine_rows, dead_rows=dead_rows)
        self._events = 0
        self._samples = self._count_samples()
        self._log_file = Path(self._sql("PRAGMA database_list").fetchone()[2] + "-wal")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside, or undo all of it when it raises. Raises StoreFull when there is no room."""
        if self._depth:
            yield
            return
        before = {job: list(counts) for job, counts in self._samples.items()}
        try:
            with super().transaction():
                yield
        except BaseException:
            self._samples = before
            raise

    def sync_apart(self) -> None:
        """From now on a commit survives kills at once, and a power cut when a later `sync` has returned."""
        self._sql("PRAGMA synchronous = NORMAL")
        self._sql(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")

    def sync(self) -> None:
        """Let all that was committed before survive a power cut. Any thread may call it.

        Raises FolderError: then nobody knows what is on the disk, and asking again would hide it.
        """
        try:
            with self._log_file.open("rb", buffering=0) as file:
                os.fdatasync(file)
        except OSError as error:
            raise FolderError(f"{self._log_file}: cannot be synced: {error.strerror}") from error

    def latest(self) -> float:
        return max(super().latest(), float(self._sql("SELECT max(at) FROM marks").fetchone()[0] or 0.0))

    # samples

    def add_sample(self, node: str, sample: HardSample, digest: bytes, received_at: int) -> Added:
        x, job = sample.x, sample.job
        size = len(x.data)
        cursor = self._sql(
            _ADD,
            (node, job, sample.sample_id, received_at, sample.timestamp, sample.reason, sample.rank, sample.audit,
             sample.model, _encode(sample.edge), digest, size, x.dtype, _shape_text(x.shape), x.data,
             x.encoding),
        )  # fmt: skip
        if cursor.rowcount == 1:
            self._add_counts(job, 1, 1, size)
            return Added.STORED
        sql = "SELECT digest FROM samples WHERE node = ? AND job = ? AND sample_id = ?"
        found = self._sql(sql, (node, job, sample.sample_id)).fetchone()
        return Added.KNOWN if found[0] == digest else Added.CONFLICT

    def waiting(self, job: str, limit: int, skip: Collection[int] = ()) -> Sequence[Waiting]:
        if not skip:
            return _read(self._sql(_OF_JOB, (job, limit)))
        return _read(self._sql(_OF_JOB_BUT, (job, json.encode(list(skip)).decode(), limit)))

    def samples(self, rows: Sequence[int]) -> Sequence[Waiting]:
        return _read(self._sql(_OF_ROWS, (json.encode(rows).decode(),)))

    def answer(self, verdict: Verdict, model: str, at: int) -> bool:
        value = None if verdict.value is None else _encode(verdict.value)
        found = self._sql(
            "UPDATE samples SET answered_at = ?, model = ?, error = ?, value = ? WHERE id = ? AND answered_at IS NULL"
            " RETURNING job",
            (at, model, verdict.error, value, verdict.row),
        ).fetchone()
        if found is None:
            return False
        self._add_counts(found[0], 0, -1, 0)
        return True

    def has_sample(self, node: str, job: str, sample_id: str) -> bool:
        sql = "SELECT 1 FROM samples WHERE node = ? AND job = ? AND sample_id = ?"
        return self._sql(sql, (node, job, sample_id)).fetchone() is not None

    def answered(self, node: str, job: str, sample_id: str) -> tuple[Verdict, str] | None:
        found = self._sql(
            "SELECT id, value, error, model FROM samples"
            " WHERE node = ? AND job = ? AND sample_id = ? AND answered_at IS NOT NULL",
            (node, job, sample_id),
        ).fetchone()
        if found is None:
            return None
        row, value, error, model = found
        return Verdict(row, None if value is None else _decode_value(value), error), model

    def sample_totals(self, job: str) -> SampleTotals:
        return SampleTotals(*self._samples.get(job, (0, 0, 0)))

    def drop_samples(self, job: str, rows: int) -> int:
        return self._drop("job = ? AND answered_at IS NOT NULL ORDER BY id LIMIT ?", (job, rows))

    def drop_older(self, now: float, age_s: float, rows: int) -> int:
        """Forget at most `rows` answered samples older than `age_s`; returns how many went.

        Age is run time, for a clock that jumps ahead must drop nothing. What is there at each call (at most a hundred
        times an age) is marked, and has the mark's age.
        """
        last = self._sql("SELECT max(at) FROM marks").fetchone()[0]
        if last is None or now - last >= age_s / 100.0:
            self._sql("INSERT INTO marks SELECT ?, coalesce(max(id), 0) FROM samples", (now,))
        old = self._sql("SELECT max(at), max(sample) FROM marks WHERE at < ?", (now - age_s,)).fetchone()
        if old[0] is None:
            return 0
        self._sql("DELETE FROM marks WHERE at < ?", (old[0],))
        return self._drop("answered_at IS NOT NULL AND id <= ? ORDER BY id LIMIT ?", (old[1], rows))

    # nodes

    def node(self, name: str) -> NodeRecord | None:
        found = self._sql("SELECT name, status, seen_at, online FROM nodes WHERE name = ?", (name,)).fetchone()
        return None if found is None else _node(found)

    def save_node(self, record: NodeRecord) -> None:
        values = (record.name, json.encode(record.status), record.seen_at, record.online)
        self._sql("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?)", values)

    def nodes(self) -> Sequence[NodeRecord]:
        return [_node(row) for row in self._sql("SELECT name, status, seen_at, online FROM nodes ORDER BY name")]

    # jobs

    def load_job(self, job: str) -> bytes | None:
        found = self._sql("SELECT state FROM jobs WHERE name = ?", (job,)).fetchone()
        return None if found is None else bytes(found[0])

    def save_job(self, job: str, state: bytes) -> None:
        self._sql("INSERT OR REPLACE INTO jobs VALUES (?, ?)", (job, state))

    def log_event(self, job: str, at: int, event: bytes) -> None:
        self._sql("INSERT INTO job_events (job, at, event) VALUES (?, ?, ?)", (job, at, event))
        self._events += 1
        if self._events % _TRIM_EVERY == 0:
            self._trim("job_events", EVENT_ROWS)

    def _drop(self, where: str, values: tuple[Any, ...]) -> int:
        which = f"SELECT id FROM samples WHERE {where}"
        sql = f"DELETE FROM samples WHERE id IN ({which}) RETURNING job, size"
        gone = self._sql(sql, values).fetchall()
        for job, size in gone:
            self._add_counts(job, -1, 0, -size)
        return len(gone)

    def _add_counts(self, job: str, rows: int, waiting: int, size: int) -> None:
        counts = self._samples.setdefault(job, [0, 0, 0])
        counts[0] += rows
        counts[1] += waiting
        counts[2] += size

    def _count_samples(self) -> dict[str, list[int]]:
        found = self._sql("SELECT job, count(*), count(*) - count(answered_at), sum(size) FROM samples GROUP BY job")
        return {job: counts for job, *counts in found}


def _read(found: sqlite3.Cursor) -> list[Waiting]:
    return [
        Waiting(row, node, job, sample_id, Tensor(dtype=kind, shape=_shape(shape), data=data, encoding=how), at)
        for row, node, job, sample_id, kind, shape, data, how, at in found
    ]


def _node(found: tuple[Any, ...]) -> NodeRecord:
    name, status, seen_at, online = found
    return NodeRecord(name, _decode_status(status), seen_at, bool(online))


@lru_cache(1024)
def _shape_text(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


@lru_cache(1024)
def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",")) if text else ()
