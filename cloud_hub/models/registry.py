"""The registry's tables, on any connection to the hub's database: models by name and version, with metrics and stages.

A model is named in one of four ways: `digits` (its newest version), `digits:3`, `digits@champion` (whatever has that
stage now), or the beginning of its digest.
"""

import re
import sqlite3
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, structs

from messages.channels import checked
from messages.models import Description
from messages.shapes import Finite

LEAST_DIGEST: Final = 8
"""Of so many hexadecimal digits a digest has to be given, at least."""

_REFERENCE: Final = re.compile(r"(?P<name>[^:@]+)(?::(?P<version>\d{1,9})|@(?P<stage>[^:@]+))?")
_MODEL: Final = "SELECT id, name, version, digest, size, description, lineage, note, created_at FROM models "
_AT_STAGE: Final = "WHERE id = (SELECT model FROM stages_now WHERE name = ? AND stage = ?)"

Text = Annotated[str, Meta(max_length=500)]


class UnknownModel(LookupError):
    """No model, or more than one, is called so. The text says which there are."""


class BadEntry(ValueError):
    """What cannot be written into the registry. The text names the field."""


class Lineage(Struct, frozen=True, kw_only=True):
    """Where a model comes from, as far as is known: its parent's digest, the job, the data and the code."""

    parent: Text = ""
    job: Text = ""
    data: Text = ""
    code: Text = ""


class Metric(Struct, frozen=True):
    """A figure, and the data on which it was measured: accuracies on different data are never compared."""

    data: Text
    name: Text
    value: Finite


class Entry(Struct, frozen=True, kw_only=True):
    """What is written down of a model file; `digest` is the SHA-256 of its content, in hexadecimal digits."""

    name: str
    digest: str
    size: int
    description: Description
    lineage: Lineage = Lineage()
    metrics: tuple[Metric, ...] = ()
    note: Text = ""


class Model(Entry, frozen=True, kw_only=True):
    """A model of the registry. `created_at` is the hub's clock in ms; `stages` are those that it has now."""

    id: int
    version: int
    created_at: int
    stages: tuple[str, ...] = ()


class Move(Struct, frozen=True):
    """A line of a name's history: from then on (ms) a stage was that version's; None: nobody's."""

    at: int
    stage: str
    version: int | None


def add(connection: sqlite3.Connection, entry: Entry, at: int) -> tuple[Model, bool]:
    """Write a model down as its name's next version. The same file again is the same version, and gets the metrics.

    Returns the model, and whether it is new. Raises BadEntry.
    """
    _check(entry)
    known = connection.execute(_MODEL + "WHERE name = ? AND digest = ?", (entry.name, entry.digest)).fetchone()
    if known is None:
        connection.execute(
            "INSERT INTO models (name, version, digest, size, description, lineage, note, created_at)"
            " VALUES (?, (SELECT coalesce(max(version), 0) + 1 FROM models WHERE name = ?), ?, ?, ?, ?, ?, ?)",
            (entry.name, entry.name, entry.digest, entry.size, msgspec.json.encode(entry.description).decode(),
             msgspec.json.encode(entry.lineage).decode(), entry.note, at),
        )  # fmt: skip
    model = find(connection, f"{entry.name}:{known[2]}" if known else entry.name)
    measured(connection, model, entry.metrics)
    return _whole(connection, model), known is None


def measured(connection: sqlite3.Connection, model: Model, metrics: Sequence[Metric]) -> None:
    """Write figures down; one that was measured before on the same data is replaced."""
    connection.executemany(
        "INSERT OR REPLACE INTO model_metrics (model, data, name, value) VALUES (?, ?, ?, ?)",
        [(model.id, *structs.astuple(metric)) for metric in metrics],
    )


def find(connection: sqlite3.Connection, reference: str) -> Model:
    """The model that is called so. Raises UnknownModel."""
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise UnknownModel(f"model {reference[:80]!r}: say NAME, NAME:VERSION, NAME@STAGE or a digest")
    name, version, stage = parts["name"], parts["version"], parts["stage"]
    if stage:
        found = connection.execute(_MODEL + _AT_STAGE, (name, stage)).fetchall()
    elif version:
        found = connection.execute(_MODEL + "WHERE name = ? AND version = ?", (name, int(version))).fetchall()
    else:
        found = connection.execute(_MODEL + "WHERE name = ? ORDER BY version DESC LIMIT 1", (name,)).fetchall()
        found = found or _by_digest(connection, name)
    if len({row[3] for row in found}) == 1:
        return _whole(connection, _model(found[0]))
    raise UnknownModel(_nobody(connection, reference, name, several=bool(found)))


def listed(connection: sqlite3.Connection, name: str = "", stage: str = "") -> list[Model]:
    """The models (of one name, of one stage), by name, the newest version first."""
    where = (
        "WHERE ? IN ('', name) AND (? = '' OR id IN (SELECT model FROM stages_now WHERE stage = ?))"
        " ORDER BY name, version DESC"
    )
    found = connection.execute(_MODEL + where, (name, stage, stage)).fetchall()
    return [_whole(connection, _model(row)) for row in found]


def promote(connection: sqlite3.Connection, model: Model, stage: str, at: int) -> Model | None:
    """Give a model a stage from now on; returns the one that had it. Raises BadEntry."""
    return _move(connection, model.name, stage, model, at)


def vacate(connection: sqlite3.Connection, name: str, stage: str, at: int) -> Model | None:
    """Let nobody of a name have a stage from now on; returns the one that had it. Raises BadEntry."""
    return _move(connection, name, stage, None, at)


def history(connection: sqlite3.Connection, name: str) -> list[Move]:
    """Who of a name had which stage since when, newest first."""
    sql = (
        "SELECT s.at, s.stage, m.version FROM model_stages AS s LEFT JOIN models AS m ON m.id = s.model"
        " WHERE s.name = ? ORDER BY s.id DESC"
    )
    return [Move(*row) for row in connection.execute(sql, (name,))]


def digests(connection: sqlite3.Connection) -> set[str]:
    """Of all models: their files are kept."""
    return {digest for (digest,) in connection.execute("SELECT digest FROM models")}


def _move(connection: sqlite3.Connection, name: str, stage: str, model: Model | None, at: int) -> Model | None:
    _check_name(stage, "stage")
    before = connection.execute(_MODEL + _AT_STAGE, (name, stage)).fetchone()
    had = _model(before) if before else None
    if (had and had.id) != (model and model.id):
        sql = "INSERT INTO model_stages (name, stage, model, at) VALUES (?, ?, ?, ?)"
        connection.execute(sql, (name, stage, model and model.id, at))
    return had


def _check(entry: Entry) -> None:
    _check_name(entry.name, "name")
    try:
        msgspec.convert(msgspec.to_builtins(entry), Entry)
    except msgspec.ValidationError as error:
        raise BadEntry(str(error)) from error


def _check_name(text: str, field: str) -> None:
    try:
        checked(text, field)
    except ValueError as error:
        raise BadEntry(str(error)) from error


def _by_digest(connection: sqlite3.Connection, digest: str) -> list[Any]:
    if len(digest) < LEAST_DIGEST or not re.fullmatch("[0-9a-f]+", digest):
        return []
    sql = _MODEL + "WHERE substr(digest, 1, ?) = ? ORDER BY version DESC"
    return connection.execute(sql, (len(digest), digest)).fetchall()


def _nobody(connection: sqlite3.Connection, reference: str, name: str, *, several: bool) -> str:
    if several:
        return f"model {reference!r}: several digests begin so"
    versions = connection.execute("SELECT version FROM models WHERE name = ? ORDER BY version", (name,)).fetchall()
    if versions:
        stages = connection.execute(
            "SELECT stage FROM stages_now WHERE name = ? AND model NOT NULL", (name,)
        ).fetchall()
        has = f"versions {', '.join(str(row[0]) for row in versions)}"
        return f"model {reference!r}: {name} has {has}; stages: {', '.join(row[0] for row in stages) or 'none'}"
    names = connection.execute("SELECT DISTINCT name FROM models ORDER BY name").fetchall()
    return f"model {reference!r}: there is none; there are {', '.join(row[0] for row in names) or 'no models yet'}"


def _model(row: Sequence[Any]) -> Model:
    number, name, version, digest, size, description, lineage, note, created_at = row
    return Model(
        id=number, name=name, version=version, digest=digest, size=size, note=note, created_at=created_at,
        description=msgspec.json.decode(description, type=Description),
        lineage=msgspec.json.decode(lineage, type=Lineage),
    )  # fmt: skip


def _whole(connection: sqlite3.Connection, model: Model) -> Model:
    """With what other tables say of it."""
    figures = "SELECT data, name, value FROM model_metrics WHERE model = ? ORDER BY data, name"
    metrics = tuple(Metric(*row) for row in connection.execute(figures, (model.id,)))
    stages = connection.execute("SELECT stage FROM stages_now WHERE model = ? ORDER BY stage", (model.id,))
    return structs.replace(model, metrics=metrics, stages=tuple(stage for (stage,) in stages))
