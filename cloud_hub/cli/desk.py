"""The commands with which a person looks after a hub: samples, dead letters, quarantine, settings."""

import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli import tables
from cloud_hub.cli.output import USAGE, AsJson, Config, fail, print_findings, print_json, print_rows, read, told
from cloud_hub.config import HubSettings, load
from cloud_hub.store import folder as storage
from messages import settings_origin
from messages.host import findings, leftovers, logs
from messages.host.leftovers import Page, Table

dead_letters = typer.Typer(help="Messages that a node refused or never receipted.", no_args_is_help=True)
quarantine = typer.Typer(help="Bytes from outside that could not be used.", no_args_is_help=True)
config = typer.Typer(help="Look at the settings.", no_args_is_help=True)

Job = Annotated[str, typer.Option("--job", help="of this job only")]
Since = Annotated[str, typer.Option("--since", metavar="TIME", help="90s, 15m, 2h, 3d (ago), or a date and time")]
After = Annotated[int, typer.Option("--after", metavar="ID", help="go on behind this row")]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="at most so many rows")]
One = Annotated[int, typer.Argument(metavar="ID")]
Many = Annotated[list[int] | None, typer.Argument(metavar="ID...")]
All = Annotated[bool, typer.Option("--all", help="all rows")]


def doctor(config: Config, as_json: AsJson = False) -> None:
    """Check everything and say what to do."""
    from cloud_hub.doctor import examine  # with NumPy and the workers, which no other command here needs

    logs.set_up(os.environ)
    found = examine(config)
    print_json(found) if as_json else print_findings(found)
    raise typer.Exit(findings.exit_code(found))


def check_plugin(
    name: Annotated[str, typer.Argument(metavar="MODULE:NAME")],
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="a hub.toml that names it")] = None,
    model: Annotated[str, typer.Option("--model", metavar="FILE", help="its model file, if no config says so")] = "",
    samples: Annotated[str, typer.Option("--input", metavar="TYPE:SHAPE", help="a sample, like float32:8,8")] = "",
    as_json: AsJson = False,
) -> None:
    """Call a big model of yours as the hub would, and say what is wrong."""
    from cloud_hub.check_plugin import Subject, examine, input_of  # with NumPy, which no other command here needs

    logs.set_up(os.environ)
    try:
        subject = Subject(name, model, input_of(samples) if samples else None)
    except ValueError as error:
        fail(USAGE, f"--input: {error}")
    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the answer
        found = examine(subject, config)
    print_json(found) if as_json else print_findings(found)
    raise typer.Exit(findings.exit_code(found))


def samples(
    config: Config,
    node: Annotated[str, typer.Option("--node", help="of this node only")] = "",
    job: Job = "",
    since: Since = "",
    answered: Annotated[bool | None, typer.Option("--answered/--waiting", help="with an answer, or without")] = None,
    after: After = 0,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The hard samples, oldest first: what the edge said of each, and what the big model."""
    page = _page(after, limit, since, job)
    rows = read(config, lambda reader: tables.samples(reader, page, node=node, answered=answered))
    print_json(rows) if as_json else print_rows(rows, limit=limit)


@dead_letters.command("list")
def list_dead(
    config: Config, job: Job = "", since: Since = "", after: After = 0, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """Oldest first."""
    page = _page(after, limit, since, job)
    rows = read(config, lambda reader: leftovers.dead_letters(reader, page))
    print_json(rows) if as_json else print_rows(rows, limit=limit)


@quarantine.command("list")
def list_bad(config: Config, since: Since = "", after: After = 0, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Oldest first."""
    page = _page(after, limit, since, "")
    rows = read(config, lambda reader: leftovers.quarantine(reader, page))
    print_json(rows) if as_json else print_rows(rows, limit=limit)


@dead_letters.command("show")
def show_dead(number: One, config: Config, as_json: AsJson = False) -> None:
    """One row with its content."""
    _show("dead_letters", number, config, as_json=as_json)


@quarantine.command("show")
def show_bad(number: One, config: Config, as_json: AsJson = False) -> None:
    """One row with its first bytes."""
    _show("quarantine", number, config, as_json=as_json)


@dead_letters.command("drop")
def drop_dead(config: Config, numbers: Many = None, every: All = False, as_json: AsJson = False) -> None:
    """Throw rows away."""
    _drop("dead_letters", _which(numbers, every=every), config, as_json=as_json)


@quarantine.command("drop")
def drop_bad(config: Config, numbers: Many = None, every: All = False, as_json: AsJson = False) -> None:
    """Throw rows away."""
    _drop("quarantine", _which(numbers, every=every), config, as_json=as_json)


@dead_letters.command("retry")
def retry_dead(config: Config, numbers: Many = None, every: All = False, as_json: AsJson = False) -> None:
    """Put rows back into the outbox; the hub must not run."""
    which = _which(numbers, every=every)
    with told():
        limits, folder = load(config).limits, Path(load(config).data_dir)
        storage.reading(folder).close()
        with storage.opened(folder, quarantine_rows=limits.quarantine_rows, dead_rows=limits.dead_rows) as store:
            back = leftovers.retry(store, which)
    print_json({"retried": back}) if as_json else typer.echo(
        f"{len(back)} back in the outbox: they go at the next start"
    )


@config.command("show")
def show_config(
    config: Config,
    origin: Annotated[bool, typer.Option("--origin", help="and where it comes from")] = False,
    as_json: AsJson = False,
) -> None:
    """Every setting that is in force."""
    logs.set_up(os.environ)
    with told():
        found = settings_origin.settings(config, HubSettings)
    print_json(found) if as_json else typer.echo("\n".join(settings_origin.lines(found, origin=origin)))


def _page(after: int, limit: int, since: str, job: str) -> Page:
    logs.set_up(os.environ)
    try:
        begin = leftovers.since(since, time.time_ns() // 1_000_000) if since else 0
    except ValueError as error:
        fail(USAGE, f"--since: {error}")
    return Page(after=after, limit=limit, since=begin, job=job)


def _which(numbers: list[int] | None, *, every: bool) -> list[int] | None:
    """The rows that are meant; None for all."""
    logs.set_up(os.environ)
    if every == bool(numbers):
        fail(USAGE, "name the rows by their ids, or say --all")
    return numbers or None


def _show(table: Table, number: int, config: Path, *, as_json: bool) -> None:
    found = read(config, lambda reader: leftovers.show(reader, table, number))
    print_json(found) if as_json else typer.echo("\n".join(leftovers.described(found)))


def _drop(table: Table, numbers: list[int] | None, config: Path, *, as_json: bool) -> None:
    read(config, lambda _reader: None)
    with told():
        gone = leftovers.drop(Path(load(config).data_dir) / storage.DATABASE, table, numbers)
    print_json({"dropped": gone}) if as_json else typer.echo(f"dropped {gone}")
