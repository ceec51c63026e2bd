"""`cloud-hub model`: the registry, in and out."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, get_args

import typer
from msgspec import Struct

from cloud_hub.cli.output import FAILED, USAGE, AsJson, Config, fail, print_json, print_table, read, say, told
from cloud_hub.config import load
from cloud_hub.models import files, registry
from cloud_hub.models.compare import Line, compare, fits
from cloud_hub.models.files import BadModel, Kind
from cloud_hub.models.registry import BadEntry, Entry, Lineage, Metric, Model, Move, UnknownModel
from cloud_hub.store.folder import transaction, writing
from messages.desk.leftovers import moment
from messages.models import BadDescription

model = typer.Typer(help="The registry: models, where they come from, how good they are.", no_args_is_help=True)

Reference = Annotated[str, typer.Argument(metavar="MODEL", help="NAME, NAME:VERSION, NAME@STAGE or a digest")]
_FIGURE = re.compile(r"(?P<data>[^:=]+):(?P<name>[^:=]+)=(?P<value>[-+.\deE]+)")


class Imported(Struct, frozen=True):
    """A model that was written down, and whether it is new."""

    model: Model
    new: bool


class Shown(Struct, frozen=True):
    """A model, and who of its name had which stage when."""

    model: Model
    history: tuple[Move, ...]


class Compared(Struct, frozen=True):
    """Two models, line by line, and whether a job can change from one to the other."""

    fits: bool
    lines: tuple[Line, ...]


@model.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".npz, .safetensors, .tflite or .onnx")],
    config: Config,
    name: Annotated[str, typer.Option(help="by default the file's own, without its suffix")] = "",
    description: Annotated[Path | None, typer.Option(metavar="FILE.json", help="by default the one beside it")] = None,
    kind: Annotated[str, typer.Option(help=f"without a description: {', '.join(get_args(Kind))}")] = "",
    metric: Annotated[list[str], typer.Option(metavar="DATA:NAME=NUMBER", help="a figure, and on which data")] = [],  # noqa: B006  # typer's way
    parent: Annotated[str, typer.Option(metavar="MODEL", help="the one it was made from")] = "",
    job: Annotated[str, typer.Option(help="the job it is for")] = "",
    data: Annotated[str, typer.Option(help="what it was trained on")] = "",
    code: Annotated[str, typer.Option(help="what trained it, e.g. a commit")] = "",
    note: Annotated[str, typer.Option(help="what people should know")] = "",
    stage: Annotated[str, typer.Option(help="promote it at once")] = "",
    as_json: AsJson = False,
) -> None:
    """Try a file in a process of its own, then keep it. The same file again is the same version."""
    if kind and kind not in get_args(Kind):
        fail(USAGE, f"--kind {kind!r}: use {', '.join(get_args(Kind))}")
    metrics = tuple(_figure(text) for text in metric)
    with words():
        folder = Path(load(config).data_dir)
        about, report = files.examine(file, description, kind or None)  # type: ignore[arg-type]  # one of Kind's, as was asked
        files.keep(folder, file, report.sha256)
        with writing(folder, make=True) as connection, transaction(connection):
            origin = registry.find(connection, parent).digest if parent else ""
            entry = Entry(
                name=name or file.name.removesuffix(file.suffix), digest=report.sha256, size=report.size,
                description=about, metrics=metrics, note=note,
                lineage=Lineage(parent=origin, job=job, data=data, code=code),
            )  # fmt: skip
            found, new = registry.add(connection, entry, _now())
            if stage:
                registry.promote(connection, found, stage, _now())
                found = registry.find(connection, found.digest)
    known = "" if new else ", known before"
    say(Imported(found, new), f"{found.name}:{found.version}, {found.digest[:12]}{known}", as_json=as_json)


@model.command("list")
def list_models(
    config: Config,
    name: Annotated[str, typer.Argument(metavar="NAME", help="of this name only")] = "",
    stage: Annotated[str, typer.Option(help="at this stage only")] = "",
    as_json: AsJson = False,
) -> None:
    """All models, the newest version of each name first."""
    found = read(config, lambda reader: registry.listed(reader, name, stage))
    if as_json or not found:
        say(found, "nothing", as_json=as_json)
        return
    columns = ("name", "version", "stages", "format", "bytes", "figures", "digest", "created_at")
    print_table(columns, map(_row, found))


@model.command("show")
def show_model(reference: Reference, config: Config, as_json: AsJson = False) -> None:
    """All that is known of one model."""
    with words():
        found = read(config, lambda reader: registry.find(reader, reference))
        moves = read(config, lambda reader: registry.history(reader, found.name))
    if as_json:
        print_json(Shown(found, tuple(moves)))
        return
    for line in _described(found):
        typer.echo(line)
    for move in moves:
        typer.echo(f"{moment(move.at)}: {move.stage} is {f'version {move.version}' if move.version else 'nobody'}")


@model.command("compare")
def compare_models(
    first: Reference, second: Annotated[str, typer.Argument(metavar="MODEL")], config: Config, as_json: AsJson = False
) -> None:
    """Figures of two models side by side, and what else differs."""
    with words():
        one, two = read(config, lambda reader: (registry.find(reader, first), registry.find(reader, second)))
    found = Compared(fits(one, two), tuple(compare(one, two)))
    if as_json:
        print_json(found)
        return
    cells = ((line.what, *map(_cell, (line.first, line.second, line.change))) for line in found.lines)
    print_table(("", f"{one.name}:{one.version}", f"{two.name}:{two.version}", "change"), cells)
    if not found.fits:
        typer.echo("they take or give different things: a job cannot change from one to the other")


@model.command("promote")
def promote_model(
    reference: Reference,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="champion, candidate, or a word of yours")],
    config: Config,
    off: Annotated[bool, typer.Option("--off", help="take the stage from it instead")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a model a stage, of which each name has one model; who had it before stays in the history."""
    with words():
        folder = Path(load(config).data_dir)
        with writing(folder) as connection, transaction(connection):
            found = registry.find(connection, reference)
            if off and stage not in found.stages:
                fail(FAILED, f"{found.name}:{found.version} is not {stage}")
            had = (
                registry.vacate(connection, found.name, stage, _now())
                if off
                else registry.promote(connection, found, stage, _now())
            )
            found = registry.find(connection, found.digest)
    before = f", instead of version {had.version}" if had and not off and had.id != found.id else ""
    now = "is no longer" if off else "is"
    say(found, f"{found.name}:{found.version} {now} {stage}{before}", as_json=as_json)


@model.command("export")
def export_model(
    reference: Reference,
    config: Config,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="its description is written beside it")],
) -> None:
    """Copy a model out of the registry."""
    with words():
        found = read(config, lambda reader: registry.find(reader, reference))
        beside = files.export(Path(load(config).data_dir), found.description, found.digest, out)
    typer.echo(f"{out}\n{beside}")


@contextmanager
def words() -> Iterator[None]:
    """What may go wrong with models, in its words."""
    try:
        with told():
            yield
    except (UnknownModel, BadEntry, BadModel, BadDescription) as error:
        fail(FAILED, str(error))
    except OSError as error:
        fail(FAILED, f"{error.filename}: {error.strerror}")


def _now() -> int:
    return time.time_ns() // 1_000_000


def _figure(text: str) -> Metric:
    parts = _FIGURE.fullmatch(text)
    try:
        if parts is None:
            raise ValueError
        return Metric(parts["data"], parts["name"], float(parts["value"]))
    except ValueError:
        fail(USAGE, f"--metric {text!r}: write DATA:NAME=NUMBER, as in digits-test:accuracy=0.97")


def _row(found: Model) -> tuple[object, ...]:
    figures = ", ".join(f"{metric.name} {metric.value:.4g} on {metric.data}" for metric in found.metrics)
    return (
        found.name, found.version, ", ".join(found.stages), found.description.format, found.size, figures,
        found.digest[:12], moment(found.created_at),
    )  # fmt: skip


def _described(found: Model) -> Iterator[str]:
    about = found.description
    yield f"{found.name}:{found.version}, {', '.join(found.stages) or 'no stage'}"
    yield f"digest: {found.digest}, {found.size} bytes of {about.format}, since {moment(found.created_at)}"
    yield f"takes: {about.input.dtype} {list(about.input.shape)}; gives: {type(about.output).__name__.lower()}"
    for tensor, what in [(about.input.tensor, "input"), *((tensor, "output") for tensor in about.output.tensors)]:
        if tensor is not None:
            yield f"its {what}: {tensor.name or 'unnamed'} {tensor.dtype} {list(tensor.shape)}"
    for metric in found.metrics:
        yield f"{metric.name} on {metric.data}: {metric.value:.6g}"
    for field in ("parent", "job", "data", "code"):
        if value := getattr(found.lineage, field):
            yield f"{field}: {value}"
    if found.note:
        yield f"note: {found.note}"


def _cell(value: str | float | None) -> str:
    return "" if value is None else value[:60] if isinstance(value, str) else f"{value:.6g}"
