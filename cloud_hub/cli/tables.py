"""What `cloud-hub status` and `cloud-hub nodes` say: read from the database, beside a hub that runs or not."""

import sqlite3
from typing import Any

from msgspec import Struct, json, msgpack

from messages.desk.leftovers import Page
from messages.shapes import NodeStatus, Value


class JobRow(Struct, frozen=True):
    """One job: samples stored, those that wait for an answer, answers that nodes have receipted, and errors."""

    job: str
    samples: int
    waiting: int
    answered: int
    failed: int


class NodeRow(Struct, frozen=True):
    """One node: whether it is there, when it was last heard of (hub's clock, ms), and what waits at both ends."""

    node: str
    online: bool
    seen_at: int
    backlog: int
    answers_waiting: int
    version: str
    releases: dict[str, str]


class Status(Struct, frozen=True):
    """The hub's database in short."""

    jobs: tuple[JobRow, ...]
    nodes_online: int
    nodes: int
    outbox: int
    dead_letters: int
    quarantined: int


class SampleRow(Struct, frozen=True):
    """A hard sample without its tensor: what the edge said, and what the big model, if it has. Times: hub's clock."""

    id: int
    received_at: int
    node: str
    job: str
    sample_id: str
    reason: str
    edge: Value
    answered_at: int | None
    value: Value | None
    error: str | None


def status(reader: sqlite3.Connection) -> Status:
    """Count what there is."""
    jobs = reader.execute(
        "SELECT job, count(*), count(*) - count(answered_at), count(value), count(answered_at) - count(value)"
        " FROM samples GROUP BY job ORDER BY job"
    )
    return Status(
        jobs=tuple(JobRow(*row) for row in jobs),
        nodes_online=_number(reader, "SELECT count(*) FROM nodes WHERE online"),
        nodes=_number(reader, "SELECT count(*) FROM nodes"),
        outbox=_number(reader, "SELECT count(*) FROM outbox"),
        dead_letters=_number(reader, "SELECT count(*) FROM dead_letters"),
        quarantined=_number(reader, "SELECT coalesce(sum(number), 0) FROM ledger WHERE outcome = 'quarantined'"),
    )


def nodes(
    reader: sqlite3.Connection, *, after: str = "", limit: int = -1, online: bool | None = None
) -> tuple[NodeRow, ...]:
    """Nodes by name, behind the name `after`, at most `limit` (-1: all); `online` asks for those that are, or not."""
    rows: list[Any] = reader.execute(
        "SELECT name, online, seen_at, status, (SELECT count(*) FROM outbox WHERE peer = name) FROM nodes"
        " WHERE name > ? AND coalesce(online = ?, 1) ORDER BY name LIMIT ?",
        (after, online, limit),
    ).fetchall()
    found = [(name, bool(online), at, json.decode(text, type=NodeStatus), n) for name, online, at, text, n in rows]
    return tuple(
        NodeRow(name, online, at, last.backlog_rows, waiting, last.version, last.releases)
        for name, online, at, last, waiting in found
    )


def samples(reader: sqlite3.Connection, page: Page, *, node: str, answered: bool | None) -> list[SampleRow]:
    """A page of the hard samples, oldest first; `answered` asks for those with an answer, or for those without."""
    found = reader.execute(
        "SELECT id, received_at, node, job, sample_id, reason, edge, answered_at, value, error FROM samples"
        " WHERE id > ? AND received_at >= ? AND ? IN ('', job) AND ? IN ('', node)"
        " AND coalesce((answered_at IS NOT NULL) = ?, 1) ORDER BY id LIMIT ?",
        (page.after, page.since, page.job, node, answered, page.limit),
    )
    return [_sample(*row) for row in found]


def _sample(*row: Any) -> SampleRow:
    *head, edge, answered_at, value, error = row
    values = (*head, _value(edge), answered_at, value and _value(value), error or None)
    return SampleRow(*values)


_value = msgpack.Decoder(Value).decode


def _number(reader: sqlite3.Connection, sql: str) -> int:
    return int(reader.execute(sql).fetchone()[0])
