"""`cloud-hub labels`: what people say that samples are, in and out."""

import time
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from msgspec import json

from cloud_hub.cli.output import FAILED, AsJson, Config, fail, print_json, read, settings_with, told
from cloud_hub.labels import files, table
from cloud_hub.store.folder import writing

labels = typer.Typer(help="What people say that samples are.", no_args_is_help=True)

Job = Annotated[str, typer.Argument(metavar="JOB")]


@labels.command("import")
def import_labels(
    job: Job,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON lines: sample_id, label, maybe node")],
    config: Config,
    author: Annotated[str, typer.Option("--author", metavar="NAME", help="who says so")] = "person",
    as_json: AsJson = False,
) -> None:
    """Take all labels of a file in, or none. What differs from an earlier label of the author corrects it."""
    settings = settings_with(config, job)
    try:
        given = files.read(file)
        with told(), writing(Path(settings.data_dir)) as connection:
            found = table.add(connection, job, given, author=author, at=time.time_ns() // 1_000_000)
    except files.BadLabels as error:
        fail(FAILED, str(error) if str(error).startswith(str(file)) else f"{file}: {error}")
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found.new} new, {found.corrected} corrected, {found.known} known before")
    if found.unknown:
        typer.echo(f"{found.unknown} of samples that this hub does not hold: kept, for they may come later")


@labels.command("export")
def export_labels(job: Job, config: Config) -> None:
    """JSON lines: first stored samples without a label, newest first, for you to fill in; then all labels."""
    settings_with(config, job)
    read(config, lambda reader: _print(chain(table.unlabelled(reader, job), table.labelled(reader, job))))


def _print(lines: "chain[table.Unlabelled | files.Label]") -> None:
    for line in lines:
        typer.echo(json.encode(line).decode())
