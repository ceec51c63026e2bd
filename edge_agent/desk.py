"""The commands with which a person looks after an agent: its settings, its dead letters and its quarantine."""

import argparse
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msgspec import Struct

    from messages.desk.findings import Finding
    from messages.desk.leftovers import Page, Table

Commands = Any
"""What argparse's `add_subparsers` gives: a type that it keeps to itself."""

FAILED, USAGE, CONFIG = 1, 2, 78

_log = logging.getLogger("edge_agent")


def add(commands: Commands) -> None:
    """Put the commands into the parser; each sets `handle`, a function of the parsed arguments."""
    doctor = _command(commands, "doctor", "check everything and say what to do", _doctor)
    doctor.add_argument("--sample", action="store_true", help="also take one sample from every source")
    _add_check(commands)
    config = commands.add_parser("config", help="look at the settings").add_subparsers(required=True, metavar="COMMAND")
    shown = _command(config, "show", "every setting that is in force", _config)
    shown.add_argument("--origin", action="store_true", help="and where it comes from")
    predicted = _command(commands, "predict", "run a job's model on a file of samples, to calibrate with", _predict)
    predicted.add_argument("job", metavar="JOB")
    predicted.add_argument("samples", metavar="FILE.npz", help="with an array x: one sample a row")
    predicted.add_argument("-o", "--out", required=True, metavar="OUT.npz", help="its arrays, and `edge` and `model`")
    for name in ("dead-letters", "quarantine"):
        _add_leftovers(commands, name)


def _add_check(commands: Commands) -> None:
    said = "call a plug-in of yours as the agent would, and say what is wrong"
    check = commands.add_parser("check-plugin", help=said, description=said)
    check.add_argument("name", metavar="MODULE:NAME")
    check.add_argument("--kind", default="", choices=("source", "policy", "engine", "sink"), help="what it is to be")
    check.add_argument("--config", metavar="FILE", help="an agent.toml that names it: for its options and its model")
    check.add_argument("--json", action="store_true", help="for programs")
    check.set_defaults(handle=partial(_run, _check_plugin))


def _add_leftovers(commands: Commands, name: str) -> None:
    inner = commands.add_parser(name, help=f"list, show and drop what is in {name}").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listed = _command(inner, "list", "oldest first", _list)
    if name == "dead-letters":
        listed.add_argument("--job", default="", help="of this job only")
    listed.add_argument("--since", default="", metavar="TIME", help="90s, 15m, 2h, 3d (ago), or a date and time")
    listed.add_argument("--after", type=int, default=0, metavar="ID", help="go on behind this row")
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many rows (50)")
    _command(inner, "show", "one row with its content", _show).add_argument("id", type=int)
    many = {"drop": ("throw rows away", _drop)}
    if name == "dead-letters":
        many["retry"] = ("put rows back into the outbox; the agent must not run", _retry)
    for verb, (said, handle) in many.items():
        which = _command(inner, verb, said, handle)
        which.add_argument("id", type=int, nargs="*")
        which.add_argument("--all", action="store_true", help="all rows")
    for parser in inner.choices.values():
        parser.set_defaults(table=name.replace("-", "_"))


def _command(commands: Commands, name: str, said: str, handle: Callable[..., int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=said, description=said)
    parser.add_argument("--config", required=True, metavar="FILE", help="agent.toml")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handle=partial(_run, handle))
    return parser


def _run(handle: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    from messages.host.folder import FolderError, InUse
    from messages.settings import ConfigError

    try:
        return handle(given)
    except ConfigError as error:
        return fail(CONFIG, str(error))
    except InUse:
        return fail(FAILED, "the agent runs, and would not notice: stop it, then try again")
    except (FolderError, sqlite3.Error) as error:
        return fail(FAILED, str(error))
    except KeyError as error:
        return fail(FAILED, f"there is no row {error} in {given.table}")
    except ValueError as error:
        return fail(USAGE, str(error))


def fail(code: int, text: str) -> int:
    """Say it in the log, a line for each problem; returns the exit code."""
    for line in text.splitlines():
        _log.error(line)
    return code


def _doctor(given: argparse.Namespace) -> int:
    from edge_agent import doctor

    found = doctor.examine(Path(given.config), sample=given.sample)
    return _tell(found, given)


def _check_plugin(given: argparse.Namespace) -> int:
    from edge_agent import check_plugin

    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the answer
        found = check_plugin.examine(given.name, kind=given.kind, file=Path(given.config) if given.config else None)
    return _tell(found, given)


def _tell(found: "Sequence[Finding]", given: argparse.Namespace) -> int:
    from messages.desk import findings

    _say(found, as_json=given.json, text="\n".join(findings.lines(found)))
    return findings.exit_code(found)


def _config(given: argparse.Namespace) -> int:
    from edge_agent.config import AgentSettings
    from messages import settings_origin

    found = settings_origin.settings(Path(given.config), AgentSettings)
    _say(found, as_json=given.json, text="\n".join(settings_origin.lines(found, origin=given.origin)))
    return 0


def _predict(given: argparse.Namespace) -> int:
    from edge_agent.predict import predict

    text = predict(Path(given.config), given.job, Path(given.samples), Path(given.out))
    _say({"out": given.out}, as_json=given.json, text=text)
    return 0


def _list(given: argparse.Namespace) -> int:
    from messages.desk import leftovers

    page = _page(given)
    with closing(leftovers.reading(_database(given), "agent")) as reader:
        look: Callable[[sqlite3.Connection, Page], Sequence[Struct]] = getattr(leftovers, given.table)
        rows = look(reader, page)
    more = [f"more: --after {rows[-1].id}"] if len(rows) == page.limit else []  # type: ignore[attr-defined]
    _say(rows, as_json=given.json, text="\n".join([*_table(rows), *more]))
    return 0


def _page(given: argparse.Namespace) -> "Page":
    from messages.desk.leftovers import Page, since

    begin = since(given.since, time.time_ns() // 1_000_000) if given.since else 0
    return Page(after=given.after, limit=given.limit, since=begin, job=getattr(given, "job", ""))


def _show(given: argparse.Namespace) -> int:
    from messages.desk import leftovers

    with closing(leftovers.reading(_database(given), "agent")) as reader:
        found = leftovers.show(reader, given.table, given.id)
    _say(found, as_json=given.json, text="\n".join(leftovers.described(found)))
    return 0


def _drop(given: argparse.Namespace) -> int:
    from messages.desk import leftovers

    table: Table = given.table
    leftovers.reading(_database(given), "agent").close()
    gone = leftovers.drop(_database(given), table, _numbers(given))
    _say({"dropped": gone}, as_json=given.json, text=f"dropped {gone}")
    return 0


def _retry(given: argparse.Namespace) -> int:
    from edge_agent import storage
    from messages.desk import leftovers

    file = _database(given)
    leftovers.reading(file, "agent").close()
    with storage.opened(file.parent, full=True) as store:
        back = leftovers.retry(store, _numbers(given))
    _say({"retried": back}, as_json=given.json, text=f"{len(back)} back in the outbox: they go at the next start")
    return 0


def _numbers(given: argparse.Namespace) -> list[int] | None:
    if given.all == bool(given.id):
        raise ValueError("name the rows by their ids, or say --all")
    return None if given.all else given.id


def _database(given: argparse.Namespace) -> Path:
    from edge_agent.config import load
    from edge_agent.storage import DATABASE
    from messages.settings import beside

    file = Path(given.config)
    return beside(file, load(file).data_dir) / DATABASE


def _table(rows: "Sequence[Struct]") -> list[str]:
    from messages.desk.leftovers import cells

    if not rows:
        return ["nothing"]
    table = [list(rows[0].__struct_fields__), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _say(found: Any, *, as_json: bool, text: str) -> None:
    from msgspec import json

    sys.stdout.write((json.encode(found).decode() if as_json else text) + "\n")
