"""The commands with which a person looks after a hub: samples, dead letters, quarantine, settings."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli import tables
from cloud_hub.cli.output import USAGE, AsJson, Config, fail, print_rows, read, say, tell, told
from cloud_hub.config import HubSettings, load
from cloud_hub.store import folder as storage
from messages.desk import leftovers
from messages.desk.leftovers import Page, Table
from messages.host.clock import Clock
from messages.settings import origin as settings_origin

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

    found = examine(config)
    tell(found, as_json=as_json)


def check_plugin(
    name: Annotated[str, typer.Argument(metavar="MODULE:NAME")],
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="a hub.toml that names it")] = None,
    model: Annotated[str, typer.Option("--model", metavar="FILE", help="its model file, if no config says so")] = "",
    samples: Annotated[str, typer.Option("--input", metavar="TYPE:SHAPE", help="a sample, like float32:8,8")] = "",
    as_json: AsJson = False,
) -> None:
    """Call a big model of yours as the hub would, and say what is wrong."""
    from cloud_hub.check_plugin import Subject, examine, input_of  # with NumPy, which no other command here needs

    try:
        subject = Subject(name, model, input_of(samples) if samples else None)
    except ValueError as error:
        fail(USAGE, f"--input: {error}")
    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the answer
        found = examine(subject, config)
    tell(found, as_json=as_json)


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
    print_rows(rows, limit=limit, as_json=as_json)


@dead_letters.command("list")
def list_dead(
    config: Config, job: Job = "", since: Since = "", after: After = 0, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """Oldest first."""
    page = _page(after, limit, since, job)
    rows = read(config, lambda reader: leftovers.dead_letters(reader, page))
    print_rows(rows, limit=limit, as_json=as_json)


@quarantine.command("list")
def list_bad(config: Config, since: Since = "", after: After = 0, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Oldest first."""
    page = _page(after, limit, since, "")
    rows = read(config, lambda reader: leftovers.quarantine(reader, page))
    print_rows(rows, limit=limit, as_json=as_json)


def _for(table: Table, app: typer.Typer) -> None:
    """What can be done with the rows of both tables."""

    @app.command()
    def show(number: One, config: Config, as_json: AsJson = False) -> None:
        """One row with its content."""
        found = read(config, lambda reader: leftovers.show(reader, table, number))
        say(found, "\n".join(leftovers.described(found)), as_json=as_json)

    @app.command()
    def drop(config: Config, numbers: Many = None, every: All = False, as_json: AsJson = False) -> None:
        """Throw rows away."""
        which = _which(numbers, every=every)
        read(config, lambda _reader: None)
        with told():
            gone = leftovers.drop(Path(load(config).data_dir) / storage.DATABASE, table, which)
        say({"dropped": gone}, f"dropped {gone}", as_json=as_json)


_for("dead_letters", dead_letters)
_for("quarantine", quarantine)


@dead_letters.command("retry")
def retry_dead(config: Config, numbers: Many = None, every: All = False, as_json: AsJson = False) -> None:
    """Put rows back into the outbox; the hub must not run."""
    which = _which(numbers, every=every)
    with told():
        limits, folder = load(config).limits, Path(load(config).data_dir)
        storage.reading(folder).close()
        with storage.opened(folder, quarantine_rows=limits.quarantine_rows, dead_rows=limits.dead_rows) as store:
            back = leftovers.retry(store, which)
    say({"retried": back}, f"{len(back)} back in the outbox: they go at the next start", as_json=as_json)


@config.command("show")
def show_config(
    config: Config,
    origin: Annotated[bool, typer.Option("--origin", help="and where it comes from")] = False,
    as_json: AsJson = False,
) -> None:
    """Every setting that is in force."""
    with told():
        found = settings_origin.settings(config, HubSettings)
    say(found, "\n".join(settings_origin.lines(found, origin=origin)), as_json=as_json)


def _page(after: int, limit: int, since: str, job: str) -> Page:
    try:
        begin = leftovers.since(since, Clock.at()) if since else 0
    except ValueError as error:
        fail(USAGE, f"--since: {error}")
    return Page(after=after, limit=limit, since=begin, job=job)


def _which(numbers: list[int] | None, *, every: bool) -> list[int] | None:
    """The rows that are meant; None for all."""
    if every == bool(numbers):
        fail(USAGE, "name the rows by their ids, or say --all")
    return numbers or None
