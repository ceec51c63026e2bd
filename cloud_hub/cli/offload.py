"""`cloud-hub offload` and `cloud-hub calibrate`: what the offload policy does, and how it is fitted."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from cloud_hub.cli.output import (
    FAILED,
    USAGE,
    AsJson,
    Config,
    fail,
    print_json,
    print_table,
    read,
    say,
    settings_with,
    told,
)
from cloud_hub.config import HubSettings
from cloud_hub.store.folder import writing
from messages.desk import leftovers
from messages.offload.shapes import OffloadPolicy, Terms

if TYPE_CHECKING:
    from cloud_hub.calibration import Fitted
    from cloud_hub.offload.examples import Examples

Job = Annotated[str, typer.Argument(metavar="JOB")]
When = Annotated[str, typer.Option(metavar="TIME", help="90s, 15m, 2h, 3d (ago), or a date and time")]


def offload(job: Job, config: Config, since: When = "", until: When = "", as_json: AsJson = False) -> None:
    """What the policy did on each node: rate and budget, agreement on audits, accuracy where labels are, alarms."""
    from cloud_hub.offload import table  # with SciPy, which no other command here needs

    settings_with(config, job)
    begin, end = _moment(since, "--since", 0), _moment(until, "--until", 2**53)
    found = read(config, lambda reader: table.of_job(reader, job, since=begin, until=end))
    if as_json or not found.nodes:
        say(found, "no reports yet", as_json=as_json)
        return
    rows = (*found.nodes, found.all) if len(found.nodes) > 1 else found.nodes
    print_table(table.COLUMNS, map(table.cells, rows))


def calibrate(
    job: Job,
    config: Config,
    labelled: Annotated[Path | None, typer.Option(metavar="FILE.npz", help="arrays x, y, edge, maybe cloud")] = None,
    node: Annotated[str, typer.Option(metavar="NODE", help="for this node only")] = "",
    quality: Annotated[float | None, typer.Option(help="promise this share of right answers on the edge")] = None,
    confidence: Annotated[float, typer.Option(help="with this confidence")] = 0.95,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would be chosen")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit the job's offload policy, from audits with their labels or from a labelled file, and set it."""
    from cloud_hub.calibration import CalibrationError  # with scikit-learn, which no other command here needs
    from cloud_hub.offload import fit
    from cloud_hub.offload.examples import NoExamples, models

    settings, at = settings_with(config, job), time.time_ns() // 1_000_000
    seen, before, running = read(config, lambda reader: (
        fit.marks(reader), fit.in_force(reader, job, node), models(reader, job, node)))  # fmt: skip
    before = before or OffloadPolicy(job=job, version=0)
    if quality is not None:
        terms = structs.replace(before.terms or Terms(), budget=None, quality=quality, confidence=confidence)
        before = structs.replace(before, terms=terms)
    try:
        examples = _examples(job, config, settings, labelled, node)
        fitted = fit.fit(examples, before, at)
    except (CalibrationError, NoExamples) as error:
        fail(FAILED, str(error))
    version = None
    if not dry_run:
        with told(), writing(Path(settings.data_dir)) as connection:
            version = fit.save(connection, fitted, node=node, seen=seen)
    if as_json:
        print_json(fit.summary(fitted, examples, version))
        return
    _show(fitted, examples)
    for digest, names in running.items():
        if digest != examples.model:
            typer.echo(f"{', '.join(names)}: runs model {digest[:12]}, and will refuse this policy")
    where = f"node {node}" if node else "every node that has none of its own"
    typer.echo(f"job {job}: policy {version} for {where}" if version else "nothing was set")


def _examples(job: str, config: Path, settings: HubSettings, labelled: Path | None, node: str) -> "Examples":
    from cloud_hub.offload import cloud, examples

    if labelled is None:
        return read(config, lambda reader: examples.of_audits(reader, job, node=node))
    return cloud.answered(examples.of_file(labelled), settings.jobs[job], str(config.resolve().parent))


def _show(fitted: "Fitted", examples: "Examples") -> None:
    """The table of rules, and what they rest on."""
    policy, left_out = fitted.policy, ", ".join(f"{number} {why}" for why, number in examples.left_out.items())
    typer.echo(f"{policy.samples} samples of edge model {policy.model[:12]}, {policy.labels} with labels"
               + (f"; left out: {left_out}" if left_out else ""))  # fmt: skip
    if fitted.table:
        rows = ((row.rule, f"{row.share:.3f}", f"{row.error:.3f}", "chosen" if row.chosen else "")
                for row in fitted.table)  # fmt: skip
        print_table(("rule", "share of the oracle's gain", "standard error", ""), rows)
    for note in fitted.notes:
        typer.echo(note)
    if policy.promise is not None:
        typer.echo(f"kept on the edge is what scores up to {policy.promise.score:.4g}")
    elif policy.terms is not None and policy.terms.quality is not None:
        typer.echo("no score keeps the promise: all samples are sent")


def _moment(text: str, name: str, default: int) -> int:
    if not text:
        return default
    try:
        return leftovers.since(text, time.time_ns() // 1_000_000)
    except ValueError as error:
        fail(USAGE, f"{name}: {error}")
