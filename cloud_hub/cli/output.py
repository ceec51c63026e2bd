"""What the commands of `cloud-hub` share: their options, how they read the database, how they print and fail."""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from msgspec import Struct, json

from cloud_hub.config import HubSettings, load
from cloud_hub.store.folder import reading
from messages.desk import findings
from messages.desk.findings import Finding
from messages.desk.leftovers import cells
from messages.host import logs
from messages.host.folder import FolderError, InUse
from messages.settings.read import ConfigError

T = TypeVar("T")

FAILED, USAGE, CONFIG = logs.FAILED, logs.USAGE, logs.CONFIG

_log = logging.getLogger("cloud_hub")

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="hub.toml")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


def read(config: Path, question: Callable[[sqlite3.Connection], T]) -> T:
    """Ask the database of a config; ends the program in words when that fails."""
    with told(), closing(reading(Path(load(config).data_dir))) as reader:
        return question(reader)


@contextmanager
def told() -> Iterator[None]:
    """Turn what may go wrong in a command into its words and its exit code."""
    try:
        yield
    except ConfigError as error:
        fail(CONFIG, str(error))
    except InUse:
        fail(FAILED, "the hub runs, and would not notice: stop it, then try again")
    except (FolderError, sqlite3.Error) as error:
        fail(FAILED, str(error))
    except KeyError as error:
        fail(FAILED, f"there is no row {error}")


def settings_with(config: Path, job: str) -> HubSettings:
    """The settings, in which the job is; ends the program in words when it is not."""
    with told():
        settings = load(config)
    if job not in settings.jobs:
        fail(FAILED, f"{config}: has no job {job!r}; its jobs are {', '.join(settings.jobs) or 'none'}")
    return settings


def print_json(found: Any) -> None:
    """Print for programs."""
    typer.echo(json.encode(found).decode())


def say(found: Any, text: str, *, as_json: bool) -> None:
    """Print for programs, or the text for people."""
    print_json(found) if as_json else typer.echo(text)


def print_rows(rows: Sequence[Struct], *, limit: int, as_json: bool) -> None:
    """Print a page of a list, for people with how to go on."""
    if as_json or not rows:
        say(rows, "nothing", as_json=as_json)
        return
    print_table(rows[0].__struct_fields__, map(cells, rows))
    if len(rows) == limit:
        typer.echo(f"more: --after {rows[-1].id}")  # type: ignore[attr-defined]  # every list's rows have an id


def print_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table for people."""
    from rich.console import Console  # it takes 30 ms to import, and most commands print no table
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)


def tell(found: Sequence[Finding], *, as_json: bool) -> NoReturn:
    """Print what was found, in colours where a person reads, and end with the exit code that it deserves."""
    if as_json:
        print_json(found)
    else:
        from rich.console import Console
        from rich.text import Text

        for line in findings.lines(found):
            Console().print(Text(line, _COLOURS.get(line.partition(" ")[0], "")), soft_wrap=True)
    raise typer.Exit(findings.exit_code(found))


_COLOURS: Final = {"fail": "bold red", "warn": "yellow"}


def fail(code: int, text: str) -> NoReturn:
    """Say it in the log, a line for each problem, and end with this exit code."""
    raise typer.Exit(logs.fail(_log, code, text))
