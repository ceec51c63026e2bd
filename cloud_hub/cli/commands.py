"""The commands of `cloud-hub`."""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from msgspec import Struct, ValidationError, json, structs
from rich.console import Console
from rich.table import Table

from cloud_hub.broker.child import BrokerFailed
from cloud_hub.broker.files import write_broker_files
from cloud_hub.cli import tables
from cloud_hub.cli.run import serve
from cloud_hub.config import ConfigError, HubSettings, load
from cloud_hub.store.folder import reading
from cloud_hub.web.server import WebError
from messages.bus.settings import MqttSettings
from messages.host import logs
from messages.host.folder import FolderError

T = TypeVar("T")

FAILED, CONFIG = 1, 78

app = typer.Typer(help="The hub: big models behind many small agents.", no_args_is_help=True, add_completion=True,
                  pretty_exceptions_enable=False)  # fmt: skip
broker = typer.Typer(help="The MQTT broker in front of the hub.", no_args_is_help=True)
app.add_typer(broker, name="broker")

_log = logging.getLogger("cloud_hub")

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="hub.toml")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


@app.command()
def run(
    config: Config,
    broker_url: Annotated[str, typer.Option("--broker", metavar="URL", help="use this broker: mqtt://host:port")] = "",
    check_config: Annotated[bool, typer.Option("--check-config", help="say what is wrong, start nothing")] = False,
) -> None:
    """Run the hub until SIGTERM."""
    logs.set_up(os.environ)
    try:
        settings = load(config)
        mqtt = _mqtt(settings, broker_url)
    except ConfigError as error:
        _fail(CONFIG, str(error))
    if check_config:
        typer.echo(f"{config}: fine; jobs: {', '.join(settings.jobs) or 'none'}")
        return
    try:
        asyncio.run(serve(settings, mqtt, config.resolve().parent))
    except (BrokerFailed, FolderError, WebError) as error:
        _fail(FAILED, str(error))


@broker.command("config")
def broker_config(
    config: Config, out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the folder to write to")]
) -> None:
    """Write mosquitto.conf, access rules and passwords."""
    logs.set_up(os.environ)
    try:
        files = write_broker_files(load(config).broker, out)
    except ConfigError as error:
        _fail(CONFIG, str(error))
    except (OSError, ValueError) as error:
        _fail(FAILED, f"broker: {error}")
    for path in files:
        typer.echo(path)


@app.command()
def status(config: Config, as_json: AsJson = False) -> None:
    """Jobs, nodes and what waits."""
    found = _read(config, tables.status)
    if as_json:
        _print_json(found)
        return
    table = Table("job", "samples", "waiting", "answered", "failed")
    for row in found.jobs:
        table.add_row(*(str(cell) for cell in structs.astuple(row)))
    console = Console()
    console.print(table)
    console.print(f"{found.nodes_online} of {found.nodes} nodes online, {found.outbox} messages wait for nodes,"
                  f" {found.dead_letters} dead letters, {found.quarantined} in quarantine")  # fmt: skip


@app.command()
def nodes(config: Config, as_json: AsJson = False) -> None:
    """All nodes that have ever reported."""
    found = _read(config, tables.nodes)
    if as_json:
        _print_json(found)
        return
    table = Table("node", "state", "heard of", "waits there", "waits here", "version", "models")
    now = time.time_ns() // 1_000_000
    for row in found:
        models = ", ".join(f"{job} {digest[:12]}" for job, digest in row.releases.items())
        state, ago = "online" if row.online else "offline", f"{max(0, now - row.seen_at) // 1000} s ago"
        table.add_row(row.node, state, ago, str(row.backlog), str(row.answers_waiting), row.version, models)
    Console().print(table)


def _mqtt(settings: HubSettings, url: str) -> MqttSettings | None:
    """The broker that the command line or the config names; None for the hub's own."""
    if not url:
        return settings.mqtt
    try:
        return structs.replace(settings.mqtt, url=url) if settings.mqtt else MqttSettings(url=url)
    except (ValueError, ValidationError) as error:
        raise ConfigError(f"--broker: {error}") from error


def _read(config: Path, question: Callable[[sqlite3.Connection], T]) -> T:
    """Ask the database of a config."""
    logs.set_up(os.environ)
    try:
        with closing(reading(Path(load(config).data_dir))) as reader:
            return question(reader)
    except ConfigError as error:
        _fail(CONFIG, str(error))
    except (FolderError, sqlite3.Error) as error:
        _fail(FAILED, str(error))


def _print_json(found: Struct | tuple[Struct, ...]) -> None:
    typer.echo(json.encode(found).decode())


def _fail(code: int, text: str) -> NoReturn:
    for line in text.splitlines():
        _log.error(line)
    raise typer.Exit(code)
