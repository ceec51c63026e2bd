"""`edge-agent doctor`: everything that an agent needs, checked one by one, each with what to do about it.

It starts nothing and makes no file. While the agent runs, its link is left alone: a second login would cut it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from msgspec import structs

from edge_agent import config, jobs, naming, plugins, storage
from edge_agent.config import AgentSettings
from edge_agent.core import trust
from edge_agent.core.exchange import NodeOptions
from edge_agent.core.node import NodeCore
from edge_agent.jobs import Job
from edge_agent.sources.feed import Bad, Feed, Sample, SourceError
from messages import channels
from messages.bus.protocol import Incoming
from messages.bus.settings import FILES, MqttSettings
from messages.codec import BadPayload, decode, seal
from messages.delivery.bounds import Caps
from messages.delivery.rows import Kind, Totals
from messages.delivery.sqlite import SqliteStore, connect
from messages.desk import checks, checkup, findings
from messages.desk.checkup import Client, Post, Talk
from messages.desk.findings import Finding, cure, fail, ok, warn
from messages.desk.leftovers import moment, reading
from messages.host import folder
from messages.host.clock import Clock
from messages.host.folder import FolderError, there
from messages.settings.read import ConfigError, beside, whole
from messages.shapes import Envelope, Link, Receipt
from messages.signing import public_key

EXAMPLE: Final = "configs/agent.toml"
LATE_MS: Final = 3_600_000
"""What waits for its receipt for longer than an hour is worth a look."""

SAMPLE_S: Final = 5.0
"""How long a source may take to give its first sample."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is examined. `data` is the data folder, `now` the wall clock in ms.

    `mqtt` and `apps` (the device's own broker, if there is one) have their files' whole paths.
    """

    file: Path
    settings: AgentSettings
    mqtt: MqttSettings
    apps: MqttSettings | None
    data: Path
    running: bool
    now: Callable[[], int]
    sample: bool

    @property
    def database(self) -> Path:
        """The agent's database."""
        return self.data / storage.DATABASE


def examine(file: Path, *, sample: bool = False, now: Callable[[], int] = Clock.at) -> list[Finding]:
    """All findings, in the order in which a person should act. `sample`: also take one sample from every source."""
    found = checks.machine(file, now())
    try:
        settings = config.load(file)
        mqtt = whole(settings.mqtt, FILES, "mqtt", file)
        own = settings.apps.mqtt if settings.apps else None
        apps = own and whole(own, FILES, "apps", file)
    except ConfigError as error:
        return found + findings.of_settings(str(error), str(file), EXAMPLE)
    found.append(ok("config", f"node {settings.node}; jobs: {', '.join(settings.jobs) or 'none'}"))
    data = beside(file, settings.data_dir)
    running = folder.in_use(data, "agent")
    setup = Setup(file, settings, mqtt, apps, data, running, now, sample)
    for check in CHECKS:
        found += check(setup)
    return found


def _secrets(setup: Setup) -> Iterable[Finding]:
    files = {"mqtt.password_file": setup.mqtt.password_file, "mqtt.key_file": setup.mqtt.key_file}
    files["apps.password_file"] = setup.apps.password_file if setup.apps else ""
    return [checks.secret(field, path) for field, path in files.items() if path]


def _data(setup: Setup) -> Iterable[Finding]:
    caps, name = setup.settings.outbox, setup.data
    yield checks.data_folder(name, "agent", running=setup.running)
    yield checks.database(setup.database, "agent", running=setup.running)
    yield checks.disk(name, caps.sample.bytes + caps.audit.bytes, "outbox.sample.bytes and outbox.audit.bytes")


def _waiting(setup: Setup) -> Iterable[Finding]:
    return checks.kept(setup.database, "agent", "edge-agent", partial(_outbox, setup))


def _outbox(setup: Setup, reader: sqlite3.Connection) -> Iterable[Finding]:
    kinds = reader.execute("SELECT kind, count(*), sum(size) FROM outbox GROUP BY kind").fetchall()
    waiting = {Kind(kind): Totals(rows, size) for kind, rows, size in kinds}
    rows = sum(totals.rows for totals in waiting.values())
    if not rows:
        return [ok("outbox", "nothing waits")]
    (oldest,) = reader.execute("SELECT body FROM outbox ORDER BY id LIMIT 1").fetchone()
    since = decode(Envelope, seal(oldest, "oldest", 0)).timestamp
    said = f"{rows} messages wait for a receipt of the hub, the oldest since {moment(since)}"
    caps = setup.settings.outbox.caps
    full = [kind for kind, totals in waiting.items() if kind in caps and _nearly(totals, caps[kind])]
    if full:
        return [warn("outbox", f"{said}; {full[0]}s fill nine tenths of their place: the least worth go first",
                     f"bring the hub back, or raise outbox.{full[0]} in {setup.file}")]  # fmt: skip
    if setup.now() - since < LATE_MS:
        return [ok("outbox", said)]
    return [warn("outbox", said, "what the checks of broker, login and hub say comes first; nothing is lost meanwhile")]


def _nearly(totals: Totals, caps: Caps) -> bool:
    return 0 < 0.9 * caps.rows <= totals.rows or 0 < 0.9 * caps.bytes <= totals.bytes


def _trust(setup: Setup) -> Iterable[Finding]:
    """Who may say what this node runs."""
    roots, fixed = config.roots(setup.settings, setup.file), config.trusted(setup.settings, setup.file)
    if not roots:
        named = ", ".join(key.id for key in fixed)
        return [ok("trust", f"release key {named}" if named else "nobody: no key stands under [trust]")]
    found = None
    # what goes wrong has the check of the database said
    with suppress(FolderError, sqlite3.Error), closing(reading(setup.database, "agent")) as reader:
        row = reader.execute("SELECT body FROM kept WHERE name = ?", (trust.KEPT,)).fetchone()
        found = trust.believed(row and row[0], roots)
    said = f"root {', '.join(root.id for root in roots)}"
    if found is None:
        return [ok("trust", f"{said}; no key list of it has come yet")]
    counted = ", ".join(public_key(text, "key list").id for text in found.key_list.keys)
    return [ok("trust", f"{said}; key list of epoch {found.key_list.epoch}: release key {counted}")]


def _jobs(setup: Setup) -> Iterable[Finding]:
    plugins.search_beside(setup.file)
    for name, settings in setup.settings.jobs.items():
        try:
            job = jobs.build(name, settings, setup.file)
        except ConfigError as error:
            yield fail(f"job {name}", str(error), _job_cure(str(error), setup.file))
            continue
        yield asyncio.run(_run_once(job, take=setup.sample and not setup.running and job.source is not None))
        job.close()


async def _run_once(job: Job, *, take: bool) -> Finding:
    """Let the engine and the policy judge one sample: the source's, or one of zeros."""
    import numpy as np

    x = np.zeros(job.engine.input.shape, job.engine.input.dtype)
    try:
        if take:
            x = (await _first(job)).x
        _, decision = await job.judge(x)
    except (plugins.PluginFailed, SourceError, jobs.SampleError, TimeoutError) as error:
        whose = "a sample of its source" if take else "a sample of zeros"
        said = f"{whose}: {error or f'none came in {SAMPLE_S:g} s'}"
        return fail(f"job {job.name}", said, _sample_cure(job, error, take=take))
    judged = (
        f"one sample of its source was judged: {decision.reason or 'easy'}" if take else f"takes {job.engine.input}"
    )
    return ok(f"job {job.name}", judged)


async def _first(job: Job) -> Sample:
    assert job.source is not None, "asked before"
    name, open_source, _ = job.source
    async with asyncio.timeout(SAMPLE_S), Feed(name, open_source, "every") as feed:
        async for item in feed:
            if isinstance(item, Bad):
                raise SourceError(f"{name}: {item.where}: {item.reason}")
            return item
    raise SourceError(f"{name}: ended before its first sample")


def _sample_cure(job: Job, error: Exception, *, take: bool) -> str:
    if not take or job.source is None:
        return f"correct jobs.{job.name}.model, engine or policy: no sample can be judged"
    name, takes = job.source.name, job.engine.input
    if isinstance(error, jobs.SampleError):
        return f"let {name} yield {takes}, or name the model of its samples in jobs.{job.name}.model"
    return f"correct {name}, or its options in jobs.{job.name}.source"


def _job_cure(error: str, file: Path) -> str:
    cures = {
        "there is no module": f"put the module beside {file}, or install it",
        "has no": "write the name of a function or class that is in that module",
        "No such file": f"put the model there, or correct the path in {file}",
        "no engine for": "convert the model to .tflite, .onnx, .npz or .safetensors, or write an engine of your own",
        "nothing says what": "docs/engines.md shows what a description is",
        "pip install": "install it, or use a model of another format",
        "does not take these options": f"write the options that it takes into its table in {file}",
    }
    return cure(error, cures, f"correct it in {file}; {EXAMPLE} explains")


def _link(setup: Setup) -> Iterable[Finding]:
    if setup.running:
        return [checkup.not_tried("agent")]
    return [*asyncio.run(_try_link(setup)), *asyncio.run(_try_apps(setup))]


async def _try_apps(setup: Setup) -> list[Finding]:
    """The device's own broker, where other programs hand in samples. Nothing is published there."""
    if setup.apps is None:
        return []
    node, topic = setup.settings.node, channels.IN.filter(setup.settings.namespace, setup.settings.node)
    found, _ = await checkup.login(setup.apps, "apps.broker", Client(node, node, [topic]))
    return [structs.replace(item, name=f"apps {item.name}") for item in found if item.name != "publish"]


async def _try_link(setup: Setup) -> list[Finding]:
    try:
        if not there(setup.database):
            raise FolderError(setup.database)
        with storage.opened(setup.data, full=True) as store:
            return await _introduce(setup, store)
    except (FolderError, sqlite3.Error):  # nothing is made here, and the check of the database has said what is wrong
        with closing(connect(Path(":memory:"), full=False)) as memory:
            return await _introduce(setup, SqliteStore(memory))


async def _introduce(setup: Setup, store: SqliteStore) -> list[Finding]:
    """Be born and leave again, as the agent would: a hub that is there greets a newborn with an empty receipt."""
    settings, at = setup.settings, setup.now()
    options = NodeOptions(node=settings.node, version=naming.version(), form=settings.payload, beat_s=settings.beat_s)
    core = NodeCore(store, options, stream=f"doctor-{at}", random=Random())
    core.new_session(at)
    topic = channels.UP_STATUS.topic(settings.namespace, settings.node)
    born, gone = (Post(topic, core.status(state, at, Link()).payload) for state in ("online", "offline"))
    down = channels.downlink(settings.namespace, settings.node)
    client = Client(settings.node, settings.node, [down], hello=[born], bye=[gone])
    found, said = await checkup.login(setup.mqtt, "mqtt.url", client)
    return [*found, *_hub(said, setup)]


def _hub(said: Talk, setup: Setup) -> list[Finding]:
    """Whether a hub greeted, and what its clock says; nothing where the talk was cut or denied."""
    if not said.protocol or said.denied or said.ended:
        return []
    stamps = [receipt.timestamp for receipt in map(_receipt, said.heard) if receipt is not None]
    if not stamps:
        return [fail("hub", f"no hub greets this node in namespace {setup.settings.namespace!r}", _NO_HUB)]
    apart = (setup.now() - stamps[0]) / 1000.0
    if abs(apart) > checks.SKEW_S:
        ahead = f"this clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} the hub's"
        return [ok("hub"), warn("hub's clock", ahead, "let NTP keep both clocks: timedatectl set-ntp true")]
    return [ok("hub", "it greets")]


_NO_HUB: Final = (
    "start the hub on this broker, with the same namespace; if it runs, the broker's ACL keeps something from one of"
    " them without a word: `cloud-hub broker config` writes its rules"
)


def _receipt(event: Incoming) -> Receipt | None:
    try:
        if event.retained or channels.parse(event.topic).channel is not channels.DOWN_RECEIPT:
            return None
        return decode(Receipt, event.payload)
    except (channels.BadTopic, BadPayload):
        return None


CHECKS: Final[tuple[Callable[[Setup], Iterable[Finding]], ...]] = (_secrets, _data, _waiting, _trust, _jobs, _link)
