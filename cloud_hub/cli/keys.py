"""`cloud-hub keys`: by which line nodes know the hub, and how its release key is made, vouched for and replaced."""

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct, json

from cloud_hub.cli.output import USAGE, AsJson, Config, fail, print_json, say, told
from cloud_hub.config import HubSettings, load
from cloud_hub.keys import ReleaseKey, place, release_key, root_key, vouch
from cloud_hub.store.folder import DATABASE, reading
from messages.desk.leftovers import moment
from messages.host.folder import there
from messages.shapes import NodeStatus
from messages.signing import KeyList, Signer, public_key

keys = typer.Typer(help="The keys by which nodes know the hub.", invoke_without_command=True)

Root = Annotated[Path, typer.Option("--root", metavar="FILE", help="the root's private key, on a medium of its own")]
Epoch = Annotated[
    int | None,
    typer.Option("--epoch", min=1, max=2**53 - 1, metavar="N", help="the key list's, if not one above the last"),
]
MaybeConfig = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="hub.toml")]


class KeyRow(Struct, frozen=True):
    """A key: its role, id and text, and where its private half lies (the root's: only the command's user knows)."""

    role: str
    id: str
    public: str
    file: str


class Listed(Struct, frozen=True):
    """The keys, the key list's epoch (0: none), when it was made, and each node's epoch (None: it trusts no root)."""

    keys: tuple[KeyRow, ...]
    epoch: int
    created: int
    nodes: dict[str, int | None]


@keys.callback()
def show(context: typer.Context, config: MaybeConfig = None, as_json: AsJson = False) -> None:
    """The line for [trust] in agent.toml by which nodes know this hub; the release key is made when there is none."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        fail(USAGE, "say --config FILE")
    with told():
        found = release_key(place(Path(load(config).data_dir)))
    _say_line(found, as_json=as_json)


@keys.command()
def init(root: Root, config: Config, epoch: Epoch = None, as_json: AsJson = False) -> None:
    """Let a root vouch for the release key; the root key is made when there is none in its file."""
    with told():
        settings, file = _at(config)
        before = release_key(file)
        fresh = before.vouched is None or epoch is not None
        signer = root_key(root, make=fresh)
        if fresh:
            before = _vouch(settings, before, signer, epoch=epoch, renew=False)
        elif before.vouched is not None and before.vouched.root != str(signer.public):
            said = (
                f"another root vouches for this hub's key: to go over to that in {root}, which every node must be told"
            )
            fail(USAGE, f"{said}, say --epoch {before.epoch + 1}")
    _say_line(before, as_json=as_json)


@keys.command()
def rotate(root: Root, config: Config, epoch: Epoch = None, as_json: AsJson = False) -> None:
    """Make another release key, and let the root vouch for it alone. A hub that runs notices within a second."""
    with told():
        settings, file = _at(config)
        signer, before = root_key(root), release_key(file)
        if before.vouched is None and not epoch:
            fail(USAGE, f"no root vouches for this hub's key yet: cloud-hub keys init --root {root}")
        if before.vouched is not None and before.vouched.root != str(signer.public):
            fail(USAGE, f"{root} holds another root than the one that vouches for this hub's key")
        after = _vouch(settings, before, signer, epoch=epoch, renew=True)
    say({"id": after.signer.public.id, "epoch": after.epoch},
        f"epoch {after.epoch}: release key {after.signer.public.id}, no longer {before.signer.public.id}",
        as_json=as_json)  # fmt: skip


@keys.command("list")
def list_keys(config: Config, as_json: AsJson = False) -> None:
    """The keys with their roles, and at which epoch the nodes are."""
    with told():
        settings, file = _at(config)
        found = _listed(release_key(file, make=False), _nodes(Path(settings.data_dir)))
    if as_json:
        print_json(found)
        return
    for row in found.keys:
        typer.echo(f"{row.role:<8} {row.id}  {row.public}  {row.file}".rstrip())
    made = f"key list of epoch {found.epoch}, made {moment(found.created)}"
    typer.echo(made if found.epoch else "no root vouches for the release key")
    at: dict[int | None, list[str]] = {}
    for node, epoch in found.nodes.items():
        at.setdefault(epoch, []).append(node)
    for epoch, nodes in sorted(at.items(), key=lambda item: item[0] or -1):
        said = "without a root" if epoch is None else f"at epoch {epoch}"
        typer.echo(f"{said}: {', '.join(nodes[:10])}{f' and {len(nodes) - 10} more' if len(nodes) > 10 else ''}")


def _at(config: Path) -> tuple[HubSettings, Path]:
    settings = load(config)
    return settings, place(Path(settings.data_dir))


def _vouch(settings: HubSettings, before: ReleaseKey, root: Signer, *, epoch: int | None, renew: bool) -> ReleaseKey:
    if epoch is not None and epoch <= before.epoch:
        fail(USAGE, f"--epoch {epoch}: the key list has epoch {before.epoch}, so say a higher one")
    now = time.time_ns() // 1_000_000
    wanted = KeyList(namespace=settings.namespace, epoch=epoch or before.epoch + 1, keys=("",), created=now)
    return vouch(before.file, root, wanted, renew=renew)


def _say_line(found: ReleaseKey, *, as_json: bool) -> None:
    root = [found.vouched.root] if found.vouched else []
    say({"root": root, "keys": [str(found.signer.public)], "epoch": found.epoch}, found.line, as_json=as_json)


def _listed(found: ReleaseKey, nodes: dict[str, int | None]) -> Listed:
    rows = [KeyRow("release", found.signer.public.id, str(found.signer.public), str(found.file))]
    if found.vouched is not None:
        rows.append(KeyRow("root", public_key(found.vouched.root, "root").id, found.vouched.root, ""))
    return Listed(tuple(rows), found.epoch, found.key_list.created if found.key_list else 0, nodes)


def _nodes(data_dir: Path) -> dict[str, int | None]:
    """The nodes' epochs, as they reported them; none before the hub has ever run."""
    if not there(data_dir / DATABASE):
        return {}
    with closing(reading(data_dir)) as reader:
        found = reader.execute("SELECT name, status FROM nodes ORDER BY name")
        return {name: json.decode(status, type=NodeStatus).key_epoch for name, status in found}
