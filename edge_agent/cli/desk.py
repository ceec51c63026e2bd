"""How a person looks after an agent: settings, doctor, dead letters and quarantine. Imported only when asked for."""

import argparse
import logging
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct, json

from edge_agent import storage
from edge_agent.config import AgentSettings, load
from messages.desk import findings, leftovers
from messages.desk.findings import Finding
from messages.desk.leftovers import Page
from messages.host import logs
from messages.host.clock import Clock
from messages.host.folder import FolderError, InUse
from messages.settings import origin
from messages.settings.read import ConfigError, beside

_log = logging.getLogger("edge_agent")


class Said(NamedTuple):
    """What a command says: to programs, to people, and by its exit code."""

    found: Any
    text: str
    code: int = 0


def run(command: str, given: argparse.Namespace) -> int:
    """Run a command and return its exit code; what may go wrong is said in words."""
    try:
        said = COMMANDS[command](given)
    except ConfigError as error:
        return logs.fail(_log, logs.CONFIG, str(error))
    except InUse:
        return logs.fail(_log, logs.FAILED, "the agent runs, and would not notice: stop it, then try again")
    except (FolderError, sqlite3.Error) as error:
        return logs.fail(_log, logs.FAILED, str(error))
    except KeyError as error:
        return logs.fail(_log, logs.FAILED, f"there is no row {error} in {given.table}")
    except ValueError as error:
        return logs.fail(_log, logs.USAGE, str(error))
    sys.stdout.write((json.encode(said.found).decode() if given.json else said.text) + "\n")
    return said.code


def _doctor(given: argparse.Namespace) -> Said:
    from edge_agent import doctor

    return _judged(doctor.examine(Path(given.config), sample=given.sample))


def _check_plugin(given: argparse.Namespace) -> Said:
    from edge_agent import check_plugin

    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the answer
        file = Path(given.config) if given.config else None
        return _judged(check_plugin.examine(given.name, kind=given.kind, file=file))


def _judged(found: Sequence[Finding]) -> Said:
    return Said(found, "\n".join(findings.lines(found)), findings.exit_code(found))


def _config(given: argparse.Namespace) -> Said:
    found = origin.settings(Path(given.config), AgentSettings)
    return Said(found, "\n".join(origin.lines(found, origin=given.origin)))


def _predict(given: argparse.Namespace) -> Said:
    from edge_agent.cli.predict import predict

    text = predict(Path(given.config), given.job, Path(given.samples), Path(given.out))
    return Said({"out": given.out}, text)


def _list(given: argparse.Namespace) -> Said:
    begin = leftovers.since(given.since, Clock.at()) if given.since else 0
    page = Page(after=given.after, limit=given.limit, since=begin, job=getattr(given, "job", ""))
    with closing(leftovers.reading(_database(given), "agent")) as reader:
        look: Callable[[sqlite3.Connection, Page], Sequence[Struct]] = getattr(leftovers, given.table)
        rows = look(reader, page)
    more = [f"more: --after {rows[-1].id}"] if len(rows) == page.limit else []  # type: ignore[attr-defined]
    return Said(rows, "\n".join([*_table(rows), *more]))


def _show(given: argparse.Namespace) -> Said:
    with closing(leftovers.reading(_database(given), "agent")) as reader:
        found = leftovers.show(reader, given.table, given.id)
    return Said(found, "\n".join(leftovers.described(found)))


def _drop(given: argparse.Namespace) -> Said:
    leftovers.reading(_database(given), "agent").close()
    gone = leftovers.drop(_database(given), given.table, _numbers(given))
    return Said({"dropped": gone}, f"dropped {gone}")


def _retry(given: argparse.Namespace) -> Said:
    file = _database(given)
    leftovers.reading(file, "agent").close()
    with storage.opened(file.parent, full=True) as store:
        back = leftovers.retry(store, _numbers(given))
    return Said({"retried": back}, f"{len(back)} back in the outbox: they go at the next start")


def _numbers(given: argparse.Namespace) -> list[int] | None:
    if given.all == bool(given.id):
        raise ValueError("name the rows by their ids, or say --all")
    return None if given.all else given.id


def _database(given: argparse.Namespace) -> Path:
    file = Path(given.config)
    return beside(file, load(file).data_dir) / storage.DATABASE


def _table(rows: Sequence[Struct]) -> list[str]:
    if not rows:
        return ["nothing"]
    table = [list(rows[0].__struct_fields__), *map(leftovers.cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], Said]]] = {
    "doctor": _doctor, "check-plugin": _check_plugin, "config": _config, "predict": _predict,
    "list": _list, "show": _show, "drop": _drop, "retry": _retry,
}  # fmt: skip
