"""Labels in the hub's database: a correction is the next version, and of all versions the highest counts."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct, msgpack

from cloud_hub.labels.files import BadLabels, Label
from cloud_hub.store.folder import transaction
from messages.shapes import Classes, Value

COUNTS: Final = (
    "(SELECT label FROM labels WHERE labels.job = samples.job AND labels.sample_id = samples.sample_id"
    " AND labels.node IN (samples.node, '') ORDER BY version DESC, id DESC LIMIT 1)"
)
"""SQL beside a row of `samples`: the label that counts, or NULL."""

_TEMPORARY: Final = """
DROP TABLE IF EXISTS temp.given;
DROP TABLE IF EXISTS temp.known;
CREATE TEMP TABLE given (sample_id TEXT, label INTEGER, node TEXT);
CREATE INDEX given_sample ON given (sample_id);
CREATE TEMP TABLE known (sample_id TEXT PRIMARY KEY, node TEXT, nodes INTEGER);
BEGIN;
"""
_UNKNOWN: Final = (
    "SELECT count(*) FROM given WHERE NOT EXISTS (SELECT 1 FROM samples"
    " WHERE samples.node = given.node AND job = ? AND samples.sample_id = given.sample_id)"
)
_KNOWN: Final = (
    "INSERT INTO known SELECT sample_id, min(node), count(*) FROM samples"
    " WHERE job = ? AND sample_id IN (SELECT sample_id FROM given) GROUP BY sample_id"
)
_LAST: Final = (
    "(SELECT {} FROM labels WHERE labels.job = ? AND labels.sample_id = given.sample_id AND author = ?"
    " AND labels.node IN (given.node, '') ORDER BY version DESC LIMIT 1)"
)
_NEW: Final = (
    "INSERT INTO labels (job, node, sample_id, author, version, label, at)"
    f" SELECT ?, node, sample_id, ?, coalesce({_LAST.format('version')}, 0) + 1, label, ? FROM given"
    f" WHERE label IS NOT {_LAST.format('label')} GROUP BY sample_id, node ORDER BY given.rowid"
)


class Imported(Struct, frozen=True):
    """How many labels are new, how many correct an earlier one of their author, how many were known already.

    `unknown` of them all are of samples that the hub does not hold (yet).
    """

    new: int
    corrected: int
    known: int
    unknown: int


class Unlabelled(Struct, frozen=True):
    """A stored sample without a label, as `import` takes it once `label` is filled in; classes are indices."""

    sample_id: str
    label: None
    node: str
    edge: int | None
    cloud: int | None
    reason: str
    audit: bool


def add(connection: sqlite3.Connection, job: str, labels: Sequence[Label], *, author: str, at: int) -> Imported:
    """Store labels, all or none, beside a running hub or not. Raises BadLabels, sqlite3.Error.

    Only the last step takes the database's lock, so a large file makes no hub wait.
    """
    connection.executescript(_TEMPORARY)
    rows = [(item.sample_id, item.label, item.node) for item in labels]
    connection.executemany("INSERT INTO given VALUES (?, ?, ?)", rows)
    connection.execute(_KNOWN, (job,))
    _find_nodes(connection)
    (unknown,) = connection.execute(_UNKNOWN, (job,)).fetchone()
    connection.execute("COMMIT")
    with transaction(connection):
        (before,) = connection.execute("SELECT coalesce(max(id), 0) FROM labels").fetchone()
        connection.execute(_NEW, (job, author, job, author, at, job, author))
        new = "SELECT count(*), count(*) FILTER (WHERE version > 1) FROM labels WHERE id > ?"
        added, corrected = connection.execute(new, (before,)).fetchone()
    return Imported(new=added - corrected, corrected=corrected, known=len(labels) - added, unknown=unknown)


def unlabelled(reader: sqlite3.Connection, job: str) -> Iterator[Unlabelled]:
    """Samples without a label, newest first."""
    found = reader.execute(
        "SELECT sample_id, node, edge, value, reason, audit FROM samples"
        f" WHERE job = ? AND {COUNTS} IS NULL ORDER BY id DESC",
        (job,),
    )
    for sample_id, node, edge, value, reason, audit in found:
        yield Unlabelled(sample_id, None, node, top(edge), top(value), reason, bool(audit))


def labelled(reader: sqlite3.Connection, job: str) -> Iterator[Label]:
    """The labels that count, of samples that are stored or not."""
    newest = "row_number() OVER (PARTITION BY sample_id, node ORDER BY version DESC, id DESC) AS place"
    found = reader.execute(
        f"SELECT sample_id, label, node FROM (SELECT *, {newest} FROM labels WHERE job = ?)"
        " WHERE place = 1 ORDER BY id",
        (job,),
    )
    return (Label(*row) for row in found)


def top(value: bytes | None) -> int | None:
    """The class that a stored value says; None where it is missing or has no classes."""
    found = None if value is None else _value(value)
    if not isinstance(found, Classes) or not found.probs:
        return None
    return max(range(len(found.probs)), key=found.probs.__getitem__)


_value = msgpack.Decoder(Value).decode


def _find_nodes(connection: sqlite3.Connection) -> None:
    """Give lines without a node that of their sample, where one node has it."""
    several = "SELECT sample_id, nodes FROM known JOIN given USING (sample_id) WHERE nodes > 1 AND given.node = ''"
    for sample_id, nodes in connection.execute(several):
        raise BadLabels(f"node: {sample_id!r} is a sample of {nodes} nodes: say which in a column or field `node`")
    connection.execute(
        "UPDATE given SET node = (SELECT node FROM known WHERE known.sample_id = given.sample_id)"
        " WHERE node = '' AND sample_id IN (SELECT sample_id FROM known)"
    )
    twice = "SELECT sample_id FROM given GROUP BY sample_id, node HAVING min(label) < max(label)"
    for (sample_id,) in connection.execute(twice):
        raise BadLabels(f"label: sample {sample_id!r} has two labels, one in a line that names its node")
