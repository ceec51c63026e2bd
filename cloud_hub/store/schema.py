"""The hub's own tables, as migrations that sqlite-utils applies once and writes down in the database."""

import sqlite3
import sys
from typing import Final

# sqlite-utils imports these where they are installed, for types that no table here has: it takes longer than all else.
_absent = {"numpy", "pandas"} - sys.modules.keys()
sys.modules |= dict.fromkeys(_absent)  # type: ignore[arg-type]  # how Python is told that a module is not there
try:
    from sqlite_utils import Database, Migrations
finally:
    for _name in _absent:
        del sys.modules[_name]

TABLES: Final = (
    """CREATE TABLE samples (
        id INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT NOT NULL, job TEXT NOT NULL, sample_id TEXT NOT NULL,
        received_at INTEGER NOT NULL, taken_at INTEGER NOT NULL, reason TEXT NOT NULL, rank REAL NOT NULL,
        audit INTEGER NOT NULL, edge_model TEXT NOT NULL, edge BLOB NOT NULL, digest BLOB NOT NULL,
        answered_at INTEGER, model TEXT, error TEXT, value BLOB,
        size INTEGER NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL, data BLOB NOT NULL,
        UNIQUE (node, job, sample_id)) STRICT""",
    "CREATE INDEX samples_waiting ON samples (job, id) WHERE answered_at IS NULL",
    """CREATE TABLE nodes (
        name TEXT PRIMARY KEY, status BLOB NOT NULL, seen_at INTEGER NOT NULL, online INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE reports (
        node TEXT NOT NULL, job TEXT NOT NULL, session INTEGER NOT NULL, timestamp INTEGER NOT NULL,
        report BLOB NOT NULL, PRIMARY KEY (node, job)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE jobs (name TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE job_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, at INTEGER NOT NULL, event BLOB NOT NULL) STRICT""",
)

FIGURES: Final = (
    """CREATE TABLE labels (
        id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, node TEXT NOT NULL, sample_id TEXT NOT NULL,
        author TEXT NOT NULL, version INTEGER NOT NULL, label INTEGER NOT NULL, at INTEGER NOT NULL,
        UNIQUE (job, sample_id, node, author, version)) STRICT""",
    "CREATE INDEX samples_audits ON samples (job, id) WHERE audit",
    """CREATE TABLE report_marks (
        id INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT NOT NULL, job TEXT NOT NULL, session INTEGER NOT NULL,
        at INTEGER NOT NULL, report BLOB NOT NULL) STRICT""",
    "CREATE INDEX report_marks_of_job ON report_marks (job, node, session, at)",
    """CREATE TABLE alarms (
        node TEXT NOT NULL, job TEXT NOT NULL, session INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL,
        at INTEGER NOT NULL, until INTEGER NOT NULL, text TEXT NOT NULL, seen_at INTEGER NOT NULL,
        over_at INTEGER NOT NULL, PRIMARY KEY (node, job, session, number)) STRICT""",
    """CREATE TABLE calibrations (
        job TEXT PRIMARY KEY, at INTEGER NOT NULL, sample INTEGER NOT NULL, label INTEGER NOT NULL, text TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
)

MODELS: Final = (
    """CREATE TABLE models (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
        size INTEGER NOT NULL, description TEXT NOT NULL, lineage TEXT NOT NULL, note TEXT NOT NULL,
        created_at INTEGER NOT NULL, UNIQUE (name, version), UNIQUE (name, digest)) STRICT""",
    "CREATE INDEX models_digest ON models (digest)",
    """CREATE TABLE model_metrics (
        model INTEGER NOT NULL REFERENCES models (id), data TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
        PRIMARY KEY (model, data, name)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE model_stages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, stage TEXT NOT NULL,
        model INTEGER REFERENCES models (id), at INTEGER NOT NULL) STRICT""",
    "CREATE INDEX model_stages_of ON model_stages (name, stage)",
    """CREATE VIEW stages_now AS SELECT name, stage, model FROM model_stages AS s
        WHERE id = (SELECT max(id) FROM model_stages WHERE name = s.name AND stage = s.stage)""",
)

hub = Migrations("hub")


@hub(name="0001_samples_nodes_jobs")
def _tables(database: Database) -> None:
    for statement in TABLES:
        database.execute(statement)


@hub(name="0002_marks")
def _marks(database: Database) -> None:
    """The newest sample at moments of run time: how old samples are, whatever the clock says."""
    database.execute("CREATE TABLE marks (at REAL PRIMARY KEY, sample INTEGER NOT NULL) STRICT")


@hub(name="0003_encoding")
def _encoding(database: Database) -> None:
    """How a sample's bytes are written: they are kept as they came."""
    database.execute("ALTER TABLE samples ADD COLUMN encoding TEXT NOT NULL DEFAULT ''")


@hub(name="0004_desired")
def _desired(database: Database) -> None:
    """What nodes should run, and what each was sent last. A policy that is set again gets a new id."""
    database.execute(
        "CREATE TABLE policies (id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, node TEXT NOT NULL,"
        " version INTEGER NOT NULL, digest TEXT NOT NULL, document BLOB NOT NULL, set_at INTEGER NOT NULL,"
        " UNIQUE (job, node)) STRICT"
    )
    database.execute("CREATE INDEX policies_digest ON policies (digest)")
    database.execute(
        "CREATE TABLE desired (node TEXT PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,"
        " state BLOB NOT NULL, fits BLOB NOT NULL, refused TEXT NOT NULL) STRICT, WITHOUT ROWID"
    )


@hub(name="0005_labels_and_figures")
def _figures(database: Database) -> None:
    """What people say of samples, and what the nodes reported over time."""
    for statement in FIGURES:
        database.execute(statement)


@hub(name="0006_models")
def _models(database: Database) -> None:
    """The registry. A stage's last row counts: the rows before it are its history."""
    for statement in MODELS:
        database.execute(statement)


class NewerDatabase(sqlite3.DatabaseError):
    """The database was written by a later version of the hub."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the hub's tables up to date. Raises NewerDatabase and leaves the file as it is."""
    check(connection)
    hub.apply(Database(connection, recursive_triggers=False, execute_plugins=False))


def current(connection: sqlite3.Connection) -> bool:
    """Whether all tables of this version are there. Read only."""
    return not hub.pending(Database(connection, recursive_triggers=False, execute_plugins=False))


def check(connection: sqlite3.Connection) -> None:
    """Read only. Raises NewerDatabase."""
    database = Database(connection, recursive_triggers=False, execute_plugins=False)
    applied = {migration.name for migration in hub.applied(database)}
    ours = {migration.name for migration in hub.pending(Database(memory=True))}
    later = sorted(applied - ours)
    if later:
        raise NewerDatabase(f"a later version of the hub has written it (it knows {later[-1]}): install that version")
