"""What a script imports: an agent that answers at once, and better when the hub has looked at the hard samples.

async with Agent.from_config("agent.toml") as agent:
    answer = await agent.infer(x)
    print(answer.value, answer.provisional)
    print(await answer.final(timeout=5.0))
"""

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edge_agent import naming  # before anything of `messages`, to say so when that is not ours

# isort: split
from edge_agent import buses, config, jobs, mining, plugins, storage
from edge_agent.answers import EdgeAnswer
from edge_agent.apps import Apps
from edge_agent.blobs import NodeBlobs
from edge_agent.buses import MakeAppsBus, MakeBus
from edge_agent.config import AgentSettings
from edge_agent.core.counters import Counters
from edge_agent.core.exchange import NodeOptions, Observation
from edge_agent.core.node import NodeCore
from edge_agent.core.readings import Handed
from edge_agent.finals import Finals
from edge_agent.jobs import Job, SampleError
from edge_agent.link import HubLink
from edge_agent.sources.drive import drive
from edge_agent.values import is_finite
from edge_agent.watch import Watch
from messages.bus.protocol import Incoming
from messages.codec import Format
from messages.delivery.rows import Kind
from messages.delivery.sqlite import SqliteStore
from messages.host.clock import Clock
from messages.settings.read import beside
from messages.shapes import Classes

if TYPE_CHECKING:
    import numpy as np

MAX_ID = 200
"""How many characters a sample's id may have, at the hub too."""

_log = logging.getLogger("edge_agent")


class Agent:
    """One node at run time. Enter it to open its folder and go online; leaving it says goodbye and keeps every row."""

    def __init__(
        self,
        settings: AgentSettings,
        config_file: Path,
        *,
        make_bus: MakeBus | None = None,
        make_apps_bus: MakeAppsBus | None = None,
    ) -> None:
        self.settings = settings
        self._config_file = config_file
        self._make_bus = make_bus or buses.to_hub(settings, config_file)
        self._make_apps_bus = make_apps_bus or buses.to_apps(settings, config_file)
        self._jobs = {name: jobs.build(name, job, config_file) for name, job in settings.jobs.items()}
        self._apps: Apps | None = None
        self.finals = Finals(self._jobs)
        self._exit = AsyncExitStack()
        self._stop = asyncio.Event()
        self._ids = 0

    @classmethod
    def from_config(cls, path: str | Path) -> Self:
        """Read a config, load its models and find its plug-ins. Raises ConfigError with one clear line."""
        file = Path(path)
        settings = config.load(file)
        plugins.search_beside(file)
        return cls(settings, file)

    async def __aenter__(self) -> Self:
        """Open the data folder and start. Raises FolderError."""
        async with AsyncExitStack() as stack:
            folder = beside(self._config_file, self.settings.data_dir)
            self.store = stack.enter_context(storage.opened(folder, full=self._syncs_fully()))
            self._start(self.store, folder)
            stack.push_async_callback(self.blobs.close)
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [
                self._tasks.create_task(self.link.read(), name="read the bus"),
                self._tasks.create_task(self.link.keep_time(), name="keep time"),
            ]
            running += self._start_apps()
            stack.callback(self._leave, running)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._exit.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            if group.exceptions[0] is error:
                return None
            raise group.exceptions[0] from None

    async def infer(self, x: "np.ndarray[Any, Any]", *, job: str = "", sample_id: str = "") -> EdgeAnswer:
        """The edge's answer for one sample, at once; a hard sample is stored to be sent on.

        Where mining comes first, a hard sample's answer is the hub's, unless that is away or late. `job` may be left
        out when there is only one. Without a `sample_id` one is drawn. Raises SampleError when `x` is not what the
        job's engine takes, or when the id cannot travel.
        """
        return await self._infer(x, job=job, sample_id=sample_id)

    async def _infer(
        self, x: "np.ndarray[Any, Any]", *, job: str, sample_id: str, handed: Handed | None = None
    ) -> EdgeAnswer:
        task = self._job(job)
        value, decision = await task.judge(x, self.link.moment)
        offload, reason = decision.offload, decision.reason
        if offload and self.settings.payload is Format.JSON and not is_finite(value):
            value = Classes(probs=())
        sent = None
        if offload:
            sent, reason = await self.blobs.aside(await task.encode(x), reason)
        seen = Observation(
            job=task.name, sample_id=self._named(sample_id), value=value, offload=sent is not None,
            reason=reason, rank=decision.rank, model=task.engine.digest, audit=decision.audit,
            low_trust=decision.low_trust, handed=handed,
        )  # fmt: skip
        clock = self._clock
        prediction = self._core.observe(seen, sent, clock.now(), clock.at())
        final = None
        if prediction.provisional:
            final = self.finals.expected.expect(task.name, seen.sample_id)
            self.link.pump()
        if offload and task.mines_first:
            prediction = await mining.hub_first(task, x, prediction, final=final, connected=self.connected)
            if prediction.origin == "cloud":
                return EdgeAnswer(prediction, None)
        self.finals.hand_over(task, prediction)
        if self._apps is not None:
            self._apps.tell(prediction)
        return EdgeAnswer(prediction, final if prediction.provisional else None)

    async def infer_batch(self, xs: "Iterable[np.ndarray[Any, Any]]", *, job: str = "") -> list[EdgeAnswer]:
        """The edge's answers for several samples, one after the other."""
        return [await self.infer(x, job=job) for x in xs]

    async def run(self) -> None:
        """Pull the jobs' sources until `stop` is called."""
        tasks = [
            self._tasks.create_task(drive(job, self.infer, self.counters(job.name)), name=f"source of {job.name}")
            for job in self._jobs.values()
            if job.source is not None
        ]
        try:
            await self._stop.wait()
        finally:
            for task in tasks:
                task.cancel()

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    @property
    def connected(self) -> bool:
        """Whether the link to the broker is up."""
        return self.link.connected

    @property
    def backlog(self) -> int:
        """How many messages wait for a receipt of the hub."""
        return sum(self.store.totals(kind).rows for kind in Kind)

    def counters(self, job: str = "") -> Counters:
        """What a job did since the start: hard / all is the share of samples that were sent on."""
        return self._core.counters.setdefault(self._job(job).name, Counters())

    def hear(self, reading: Incoming) -> bool:
        """Take a reading that came over the hub's broker, if apps may come in there."""
        if self._apps is None or self.settings.apps is None or not self.settings.apps.shared:
            return False
        self._apps.take(reading)
        return True

    def look(self, silent_s: float) -> None:
        """Let the link have the log told what went wrong lately."""
        counters = self._core.counters.values()
        self._watch.look(unsent=sum(c.unsent for c in counters), kept=sum(c.hard for c in counters), silent_s=silent_s)

    def _start(self, store: SqliteStore, folder: Path) -> None:
        settings = self.settings
        self._clock = Clock(store.latest())
        self._stream = os.urandom(6).hex()
        options = NodeOptions(
            node=settings.node, namespace=settings.namespace, version=naming.version(), form=settings.payload,
            beat_s=settings.beat_s, pace=settings.pace, caps=settings.outbox.caps,
            keys=config.trusted(settings, self._config_file), roots=config.roots(settings, self._config_file),
        )  # fmt: skip
        self._core = NodeCore(store, options, stream=self._stream, random=Random())
        self._core.releases = {name: job.engine.digest for name, job in self._jobs.items()}
        for name, job in self._jobs.items():
            self._core.counters_of(name).policy = job.offload
        problem = self._core.desired.start(self._jobs)
        if problem:
            _log.warning("what the hub wanted before is not all in force: %s", problem)
        self._watch = Watch(store, silence_s=settings.pace.last_s)
        self.blobs = NodeBlobs(folder / "blobs", settings, store, self._clock, lambda: self.link.bus)
        self.link = HubLink(self._core, self._clock, settings=settings, make_bus=self._make_bus, owner=self)
        names = ", ".join(self._jobs) or "none"
        _log.info("node %s starts: jobs %s; %d messages wait from before", settings.node, names, self.backlog)

    def _syncs_fully(self) -> bool:
        """What an app handed in is promised to it: it survives a power cut."""
        return self.settings.outbox.sync == "full" or self.settings.apps is not None

    def _start_apps(self) -> list[asyncio.Task[None]]:
        settings = self.settings.apps
        if settings is None:
            return []
        bus = self.link.bus if self._make_apps_bus is None else self._make_apps_bus()
        credit = settings.credit if settings.shared else 0
        self._apps = Apps(bus, self._core, self._clock, namespace=self.settings.namespace, credit=credit)
        self.finals.apps = self._apps
        running = self._apps.start(self._jobs, self._infer, self._tasks)
        if not settings.shared:
            running.append(self._tasks.create_task(self._apps.read(), name="read the apps' bus"))
        return running

    def _leave(self, running: list[asyncio.Task[None]]) -> None:
        for task in running:
            task.cancel()
        if self._apps is not None:
            self._apps.close()
        for job in self._jobs.values():
            job.close()

    def _job(self, name: str) -> Job:
        if name in self._jobs:
            return self._jobs[name]
        if not name and len(self._jobs) == 1:
            return next(iter(self._jobs.values()))
        raise KeyError(f"job {name!r}: this agent has {', '.join(self._jobs) or 'none'}")

    def _named(self, sample_id: str) -> str:
        """The id that a sample was given, or one that is drawn for it."""
        if len(sample_id) > MAX_ID or not _is_text(sample_id):
            raise SampleError(f"sample_id {sample_id[:40]!r}: use 1 to {MAX_ID} characters that are text")
        self._ids += not sample_id
        return sample_id or f"{self._stream}-{self._ids}"


def _is_text(sample_id: str) -> bool:
    """Whether it can travel: file names may hold bytes that are no text, and JSON half a character."""
    try:
        sample_id.encode()
    except UnicodeEncodeError:
        return False
    return True
