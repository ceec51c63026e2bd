"""`cloud-hub doctor`: everything that a hub needs, checked one by one, each with what to do about it.

It starts nothing that stays and makes no file. While the hub runs, its link, ports and models are left alone: a second
login would cut the link, and a second big model might not fit.
"""

import asyncio
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import json

from cloud_hub import config, keys
from cloud_hub.broker.child import mosquitto_program
from cloud_hub.config import HubSettings, JobSettings
from cloud_hub.store import schema
from cloud_hub.store.folder import DATABASE
from cloud_hub.store.protocol import Waiting
from cloud_hub.workers.frames import Load
from cloud_hub.workers.process import ModelBroken, WorkerDied, WorkerProcess
from messages import channels
from messages.bus.settings import MqttSettings
from messages.codec import encode
from messages.desk import checks, checkup, findings
from messages.desk.checkup import Client, Post
from messages.desk.findings import Finding, cure, fail, ok, warn
from messages.host import folder
from messages.host.clock import Clock
from messages.host.folder import FolderError
from messages.settings.read import ConfigError
from messages.shapes import NodeStatus, Receipt
from messages.tensors import pack

EXAMPLE: Final = "configs/hub.toml"
NOBODY: Final = "doctor"
"""A node that is none: a receipt to it shows whether the hub may speak to nodes, and nobody hears it."""

LOOKS: Final = 3
"""How often the nodes' sessions are compared: one that is another each time is no accident."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is examined. The paths in `settings` are whole, `now` is the wall clock in ms."""

    file: Path
    settings: HubSettings
    running: bool
    now: Callable[[], int]

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.settings.data_dir)


def examine(file: Path, *, now: Callable[[], int] = Clock.at) -> list[Finding]:
    """All findings, in the order in which a person should act."""
    found = checks.machine(file, now(), "hub")
    try:
        settings = config.load(file)
    except ConfigError as error:
        return found + findings.of_settings(str(error), str(file), EXAMPLE)
    found.append(ok("config", f"namespace {settings.namespace}; jobs: {', '.join(settings.jobs) or 'none'}"))
    setup = Setup(file, settings, folder.in_use(Path(settings.data_dir), "hub"), now)
    for check in CHECKS:
        found += check(setup)
    return found


def _secrets(setup: Setup) -> Iterable[Finding]:
    mqtt, broker, http = setup.settings.mqtt, setup.settings.broker, setup.settings.http
    files = {f"broker.accounts.{name}": path for name, path in broker.accounts.items()}
    files |= {f"broker.apps.{name}.password_file": app.password_file for name, app in broker.apps.items()}
    files |= {"broker.key_file": broker.key_file, "http.token_file": http.token_file}
    if mqtt is not None:
        files |= {"mqtt.password_file": mqtt.password_file, "mqtt.key_file": mqtt.key_file}
    return [checks.secret(field, path) for field, path in files.items() if path]


def _data(setup: Setup) -> Iterable[Finding]:
    yield checks.data_folder(setup.data, "hub", running=setup.running)
    yield checks.database(setup.data / DATABASE, "hub", running=setup.running, look=schema.check)
    yield checks.disk(setup.data, setup.settings.limits.disk_reserve, "limits.disk_reserve")


def _key(setup: Setup) -> Iterable[Finding]:
    """The key that signs what nodes run, and whether a root vouches for it."""
    file = keys.place(setup.data)
    if not folder.there(file):
        return [ok("release key", f"{file}, to be made")]
    try:
        found = keys.release_key(file, make=False)
    except FolderError as error:
        said = str(error)
        cures = {"chmod": f"chmod 600 {file}", "Permission": f"let the user that runs the hub read {file}"}
        lost = "put its backup there; without one, remove it, and `cloud-hub keys rotate --root FILE --epoch N`"
        return [fail("release key", said.partition(": chmod")[0], cure(said, cures, lost))]
    if found.vouched is None:
        return [ok("release key", f"{found.signer.public.id}; no root vouches for it")]
    return [ok("release key", f"{found.signer.public.id}; a root vouches for it, at epoch {found.epoch}")]


def _kept(setup: Setup) -> Iterable[Finding]:
    def nodes(reader: sqlite3.Connection) -> Iterable[Finding]:
        return [_jobs_wanted(reader, setup), _clocks(reader), *_flapping(reader, setup)]

    return checks.kept(setup.data / DATABASE, "hub", "cloud-hub", nodes)


def _jobs_wanted(reader: sqlite3.Connection, setup: Setup) -> Finding:
    """Jobs that nodes run, and that this hub does not know."""
    asked: dict[str, list[str]] = {}
    for node, status, _ in _statuses(reader):
        for job in sorted(set(status.releases) - set(setup.settings.jobs)):
            asked.setdefault(job, []).append(node)
    if not asked:
        return ok("jobs of nodes")
    said = "; ".join(f"job {job!r} of {_some(nodes)}" for job, nodes in asked.items())
    return warn("jobs of nodes", f"not in {setup.file}: {said}; what is hard there waits at the nodes",
                f"add [jobs.{next(iter(asked))}] to {setup.file}, or correct the job's name in agent.toml")  # fmt: skip


def _clocks(reader: sqlite3.Connection) -> Finding:
    """Nodes whose clock was far from the hub's when they last spoke."""
    off = {node: (status.timestamp - seen) / 1000.0 for node, status, seen in _statuses(reader, "WHERE online")}
    wrong = [f"{node} ({apart:+.0f} s)" for node, apart in off.items() if abs(apart) > checks.SKEW_S]
    if not wrong:
        return ok("nodes' clocks")
    return warn("nodes' clocks", f"far from this machine's: {_some(wrong)}", "let NTP keep the clocks of both ends")


def _flapping(reader: sqlite3.Connection, setup: Setup) -> list[Finding]:
    """Nodes that connect again and again: every connection has a session number of its own."""
    if not setup.running:
        return []
    seen: dict[str, set[int]] = {}
    for look in range(LOOKS):
        time.sleep(checkup.WATCH_S / (LOOKS - 1) if look else 0.0)
        for node, status, _ in _statuses(reader, "WHERE online"):
            seen.setdefault(node, set()).add(status.session)
    restless = [node for node, sessions in seen.items() if len(sessions) == LOOKS]
    if not restless:
        return [ok("nodes' links")]
    said = f"connecting again and again within {checkup.WATCH_S:g} s: {_some(restless)}"
    return [
        warn("nodes' links", said, "look for a second device with the same `node` in its agent.toml; else the link")
    ]


def _statuses(reader: sqlite3.Connection, where: str = "") -> list[tuple[str, NodeStatus, int]]:
    found = reader.execute(f"SELECT name, status, seen_at FROM nodes {where} ORDER BY name")  # noqa: S608
    return [(name, json.decode(status, type=NodeStatus), at) for name, status, at in found]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _broker(setup: Setup) -> Iterable[Finding]:
    if setup.running:
        return [checkup.not_tried("hub")]
    if setup.settings.mqtt is not None:
        return asyncio.run(_try_link(setup.settings.mqtt, setup))
    return _own_broker(setup)


def _own_broker(setup: Setup) -> list[Finding]:
    broker = setup.settings.broker
    found = [_port("broker", broker.listen, broker.port, "choose another broker.port, or name that broker in [mqtt]")]
    if broker.cert_file:
        found.append(_certificate(broker.cert_file, broker.key_file))
    if mosquitto_program() is not None:
        return [*found, ok("mosquitto")]
    if broker.cert_file:
        return [*found, fail("mosquitto", "not on this machine, and the embedded broker has no TLS", _INSTALL)]
    return [*found, warn("mosquitto", "not on this machine: the embedded broker is for a first try only", _INSTALL)]


_INSTALL: Final = "apt-get install mosquitto"


def _certificate(cert_file: str, key_file: str) -> Finding:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file)
    except ssl.SSLError as error:
        said = f"{cert_file} with {key_file}: {error.reason or error}"
        return fail("broker.cert_file", said, "name a PEM certificate and the key that belongs to it")
    return ok("broker.cert_file")


async def _try_link(mqtt: MqttSettings, setup: Setup) -> list[Finding]:
    space = setup.settings.namespace
    receipt = encode(
        Receipt(event_id="doctor", timestamp=setup.now(), credit=setup.settings.limits.credit), setup.settings.payload
    )
    hello = [Post(channels.DOWN_RECEIPT.topic(space, NOBODY), receipt)]
    client = Client(f"{space}-{channels.HUB}", channels.HUB, [channels.uplink(space)], hello)
    return (await checkup.login(mqtt, "mqtt.url", client))[0]


def _http(setup: Setup) -> Iterable[Finding]:
    http = setup.settings.http
    if http.port and not setup.running:
        yield _port("http", http.host, http.port, "choose another http.port, or 0 for none")


def _port(name: str, host: str, port: int, cure: str) -> Finding:
    """Whether the hub could listen there."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        return fail(name, f"{host}:{port}: {(error.strerror or str(error)).partition(' (')[0]}", cure)
    return ok(name, f"{host}:{port} is free")


def _jobs(setup: Setup) -> Iterable[Finding]:
    for name, job in setup.settings.jobs.items():
        if not job.predictor:
            yield ok(f"job {name}", "collects samples, and answers none")
        elif setup.running:
            yield ok(f"job {name}", "not loaded: the hub runs, and /healthz says whether its workers do")
        else:
            yield asyncio.run(_load(name, job, setup.file.resolve().parent))


async def _load(name: str, job: JobSettings, beside: Path) -> Finding:
    """Load the big model in a process of its own, and let it answer one sample of zeros."""
    process = await WorkerProcess.start()
    try:
        await process.load(Load(job.predictor, job.model, str(beside)), job.load_timeout_s)
        if job.input is None:
            return ok(f"job {name}", "the model loads")
        zeros = Waiting(0, "", name, "", pack(np.zeros(job.input.shape, job.input.dtype)), 0)
        (verdict,) = await process.predict([zeros], job.timeout_s)
    except (ModelBroken, WorkerDied) as error:
        said = str(error) if isinstance(error, ModelBroken) else f"{job.predictor}: {error}"
        return fail(f"job {name}", said, _model_cure(said, name, beside))
    finally:
        await process.kill()
    if verdict.error:
        said = f"{job.predictor}: a sample of zeros ({job.input.dtype}{list(job.input.shape)}): {verdict.error}"
        return fail(f"job {name}", said, f"correct jobs.{name}.input, model or predictor: no sample can be answered")
    return ok(f"job {name}", "the model loads and answers")


def _model_cure(error: str, name: str, beside: Path) -> str:
    cures = {
        "ModuleNotFoundError": f"put the module into {beside}, or install it",
        "AttributeError": f"write module:name of a factory that is in that module into jobs.{name}.predictor",
        "longer than": f"raise jobs.{name}.load_timeout_s or timeout_s, or take a smaller model",
    }
    return cure(error, cures, f"correct jobs.{name}.predictor or model: the hub starts its workers just so")


CHECKS: Final[tuple[Callable[[Setup], Iterable[Finding]], ...]] = (_secrets, _data, _key, _kept, _broker, _http, _jobs)
