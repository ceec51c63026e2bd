"""The commands of `cloud-hub`."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from msgspec import ValidationError, structs

from cloud_hub.broker.child import BrokerFailed
from cloud_hub.broker.files import write_broker_files
from cloud_hub.cli import desk, policy, tables
from cloud_hub.cli.convert import convert_model
from cloud_hub.cli.keys import keys
from cloud_hub.cli.labels import labels
from cloud_hub.cli.model import model
from cloud_hub.cli.offload import calibrate, offload
from cloud_hub.cli.output import CONFIG, FAILED, AsJson, Config, fail, print_json, print_table, read
from cloud_hub.cli.run import serve
from cloud_hub.cli.tables import JobRow, NodeRow
from cloud_hub.config import HubSettings, load
from cloud_hub.web.server import WebError
from messages.bus.settings import MqttSettings
from messages.host import logs
from messages.host.clock import Clock
from messages.host.folder import FolderError
from messages.settings.read import ConfigError

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)
broker = typer.Typer(help="The MQTT broker in front of the hub.", no_args_is_help=True)
app.add_typer(broker, name="broker")
app.add_typer(desk.dead_letters, name="dead-letters")
app.add_typer(desk.quarantine, name="quarantine")
app.add_typer(desk.config, name="config")
app.add_typer(labels, name="labels")
app.add_typer(model, name="model")
model.command("convert")(convert_model)
app.add_typer(policy.policy, name="policy")
app.add_typer(keys, name="keys")
app.command()(desk.doctor)
app.command()(desk.check_plugin)
app.command()(desk.samples)
app.command()(offload)
app.command()(calibrate)


@app.callback()
def begin() -> None:
    """The hub: big models behind many small agents."""
    logs.set_up(os.environ)


@app.command()
def run(
    config: Config,
    broker_url: Annotated[str, typer.Option("--broker", metavar="URL", help="use this broker: mqtt://host:port")] = "",
    check_config: Annotated[bool, typer.Option("--check-config", help="say what is wrong, start nothing")] = False,
) -> None:
    """Run the hub until SIGTERM."""
    try:
        settings = load(config)
        mqtt = _mqtt(settings, broker_url)
    except ConfigError as error:
        fail(CONFIG, str(error))
    if check_config:
        typer.echo(f"{config}: fine; jobs: {', '.join(settings.jobs) or 'none'}")
        return
    try:
        asyncio.run(serve(settings, mqtt, config.resolve().parent))
    except (BrokerFailed, FolderError, WebError) as error:
        fail(FAILED, str(error))


@broker.command("config")
def broker_config(
    config: Config, out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the folder to write to")]
) -> None:
    """Write mosquitto.conf, access rules and passwords."""
    try:
        files = write_broker_files(load(config).broker, out)
    except ConfigError as error:
        fail(CONFIG, str(error))
    except (OSError, ValueError) as error:
        fail(FAILED, f"broker: {error}")
    for path in files:
        typer.echo(path)


@app.command()
def status(config: Config, as_json: AsJson = False) -> None:
    """Jobs, nodes and what waits."""
    found = read(config, tables.status)
    if as_json:
        print_json(found)
        return
    print_table(JobRow.__struct_fields__, map(structs.astuple, found.jobs))
    typer.echo(f"{found.nodes_online} of {found.nodes} nodes online, {found.outbox} messages wait for nodes,"
               f" {found.dead_letters} dead letters, {found.quarantined} in quarantine")  # fmt: skip


@app.command()
def nodes(
    config: Config,
    online: Annotated[bool | None, typer.Option("--online/--offline", help="those that are there, or not")] = None,
    after: Annotated[str, typer.Option("--after", metavar="NODE", help="go on behind this name")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="at most so many")] = 1_000,
    as_json: AsJson = False,
) -> None:
    """The nodes that have ever reported, by name."""
    found = read(config, lambda reader: tables.nodes(reader, after=after, limit=limit, online=online))
    if as_json:
        print_json(found)
        return
    columns = ("node", "state", "heard of", "waits there", "waits here", "version", "models")
    print_table(columns, (_shown(row, Clock.at()) for row in found))
    if len(found) == limit:
        typer.echo(f"more: --after {found[-1].node}")


def _shown(row: NodeRow, now: int) -> tuple[object, ...]:
    state, ago = "online" if row.online else "offline", f"{max(0, now - row.seen_at) // 1000} s ago"
    models = ", ".join(f"{job} {digest[:12]}" for job, digest in row.releases.items())
    return row.node, state, ago, row.backlog, row.answers_waiting, row.version, models


def _mqtt(settings: HubSettings, url: str) -> MqttSettings | None:
    """The broker that the command line or the config names; None for the hub's own."""
    if not url:
        return settings.mqtt
    try:
        return structs.replace(settings.mqtt, url=url) if settings.mqtt else MqttSettings(url=url)
    except (ValueError, ValidationError) as error:
        raise ConfigError(f"--broker: {error}") from error
