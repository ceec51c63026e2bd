"""`cloud-hub offload` and `cloud-hub calibrate`: what the offload policy does, and how it is fitted."""

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cloud_hub.cli.output import USAGE, AsJson, Config, fail, print_json, read, settings_with
from messages.host import leftovers

Job = Annotated[str, typer.Argument(metavar="JOB")]
When = Annotated[str, typer.Option(metavar="TIME", help="90s, 15m, 2h, 3d (ago), or a date and time")]


def offload(job: Job, config: Config, since: When = "", until: When = "", as_json: AsJson = False) -> None:
    """What the policy did on each node: rate and budget, agreement on audits, accuracy where labels are, alarms."""
    from cloud_hub.offload import table  # with SciPy, which no other command here needs

    settings_with(config, job)
    begin, end = _moment(since, "--since", 0), _moment(until, "--until", 2**53)
    rows = read(config, lambda reader: table.of_job(reader, job, since=begin, until=end))
    if as_json:
        print_json(rows)
        return
    shown = Table(*table.COLUMNS)
    for row in rows:
        shown.add_row(*map(Text, table.cells(row)))
    Console().print(shown if rows else "no reports yet")


def _moment(text: str, name: str, default: int) -> int:
    if not text:
        return default
    try:
        return leftovers.since(text, time.time_ns() // 1_000_000)
    except ValueError as error:
        fail(USAGE, f"{name}: {error}")
