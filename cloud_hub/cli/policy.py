"""`cloud-hub policy`: what decides on the nodes which samples are sent, and how far they are with it."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct, ValidationError, convert, json, structs

from cloud_hub.cli.output import USAGE, AsJson, Config, fail, print_json, print_table, read, told
from cloud_hub.config import load
from cloud_hub.ingest.desired import wanted
from cloud_hub.store.folder import transaction, writing
from cloud_hub.store.protocol import WantedPolicy
from cloud_hub.store.wanted import WantedTables
from messages.channels import BadTopic, checked
from messages.codec import decode, encode
from messages.host import logs
from messages.offload.shapes import OffloadPolicy, Terms
from messages.shapes import NodeStatus

policy = typer.Typer(help="What decides on the nodes which samples are sent.", no_args_is_help=True)

Job = Annotated[str, typer.Argument(metavar="JOB")]
Node = Annotated[str, typer.Option("--node", metavar="NODE", help="on this node only, not on all that have no own")]


class NodeRow(Struct, frozen=True):
    """A node that runs the job: the version that is wanted there, and where it stands: active, waits or refused."""

    node: str
    version: int
    state: str
    refusal: str


class Shown(Struct, frozen=True):
    """The policy that is wanted, and the nodes that run its job."""

    policy: OffloadPolicy
    set_at: int
    digest: str
    nodes: tuple[NodeRow, ...]


@policy.command("set")
def set_policy(
    job: Job,
    config: Config,
    budget: Annotated[float | None, typer.Option(help="the share of samples that may be sent")] = None,
    quality: Annotated[float | None, typer.Option(help="the share that is right on the edge")] = None,
    number: Annotated[int | None, typer.Option("--bytes", help="on the link, of all that a node exchanges")] = None,
    per_s: Annotated[float | None, typer.Option("--per-s", help="the seconds in which those may be spent")] = None,
    emergency: Annotated[float | None, typer.Option(help="the share that may be sent in a shift")] = None,
    audit: Annotated[float | None, typer.Option(help="the share of all samples that is sent by chance")] = None,
    node: Node = "",
    as_json: AsJson = False,
) -> None:
    """Change how much may be sent; what the policy has learned stays. A hub that runs notices within a second."""
    logs.set_up(os.environ)
    given = {"budget": budget, "quality": quality, "bytes": number, "per_s": per_s, "emergency": emergency,
             "audit": audit}  # fmt: skip
    if budget is not None and quality is not None:
        fail(USAGE, "say --budget or --quality, not both")
    with told(), _tables(config) as tables:
        before = tables.policy(job, node)
        old = OffloadPolicy(job=job, version=0) if before is None else decode(OffloadPolicy, before.document)
        terms = _changed(old.terms or Terms(), {name: value for name, value in given.items() if value is not None})
        new = structs.replace(old, version=old.version + 1, terms=_checked(terms, job, node))
        tables.save_policy(wanted(job, node, encode(new), time.time_ns() // 1_000_000))
    where = f"node {node}" if node else "every node that has none of its own"
    print_json(new) if as_json else typer.echo(f"job {job}: policy {new.version} for {where}")


@policy.command("show")
def show_policy(job: Job, config: Config, node: Node = "", as_json: AsJson = False) -> None:
    """The policy that is wanted, and how far the nodes are with it."""
    found = read(config, lambda reader: _shown(reader, job, node))
    if found is None:
        fail(USAGE, f"job {job}: no policy is wanted; set one: cloud-hub policy set {job} --budget 0.2")
    if as_json:
        print_json(found)
        return
    terms = json.encode(structs.asdict(found.policy.terms)).decode() if found.policy.terms else "the node's own"
    typer.echo(f"job {job}: policy {found.policy.version}, {found.digest[:12]}, terms {terms}")
    print_table(NodeRow.__struct_fields__, ((row.node, row.version, row.state, row.refusal) for row in found.nodes))


@contextmanager
def _tables(config: Path) -> Iterator[WantedTables]:
    """The tables in a transaction, beside a hub that runs or not; the first policy may be there before the hub."""
    with writing(Path(load(config).data_dir), make=True) as connection, transaction(connection):
        yield WantedTables(connection)


def _changed(terms: Terms, given: dict[str, float]) -> Terms:
    """A budget ends a promise of quality, and a promise a budget."""
    other = {"budget": None} if "quality" in given else {"quality": None} if "budget" in given else {}
    changed = structs.replace(terms, **(other | given))
    if not given or changed.budget is changed.quality is changed.bytes is None:
        fail(USAGE, "say --budget, --quality or --bytes")
    return changed


def _checked(terms: Terms, job: str, node: str) -> Terms:
    try:
        checked(job, "job")
        checked(node or "all", "--node")
        return convert(structs.asdict(terms), Terms)
    except (BadTopic, ValidationError) as error:
        fail(USAGE, str(error))


def _shown(reader: sqlite3.Connection, job: str, node: str) -> Shown | None:
    tables = WantedTables(reader)
    found = tables.policy(job, node)
    if found is None:
        return None
    names = reader.execute("SELECT name, status FROM nodes WHERE ? IN ('', name) ORDER BY name", (node,))
    nodes = [(name, json.decode(text, type=NodeStatus)) for name, text in names]
    rows = (_row(tables, tables.policy(job, name) or found, name, status) for name, status in nodes
            if job in status.releases)  # fmt: skip
    return Shown(decode(OffloadPolicy, found.document), found.set_at, found.digest, tuple(rows))


def _row(tables: WantedTables, want: WantedPolicy, node: str, status: NodeStatus) -> NodeRow:
    issued = tables.issued(node)
    refused = issued.refused if issued else ""
    if status.policies.get(want.job) == want.digest:
        return NodeRow(node, want.version, "active", "")
    return NodeRow(node, want.version, "refused" if refused else "waits", refused)
