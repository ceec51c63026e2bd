"""What a script imports: an agent that answers at once, and better when the hub has looked at the hard samples.

async with Agent.from_config("agent.toml") as agent:
    answer = await agent.infer(x)
    print(answer.value, answer.provisional)
    print(await answer.final(timeout=5.0))
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edge_agent import naming  # before anything of `messages`, to say so when that is not ours

# isort: split
from edge_agent import config, jobs, plugins, storage
from edge_agent.answers import EdgeAnswer, Expected
from edge_agent.config import AgentSettings
from edge_agent.core.counters import Counters
from edge_agent.core.exchange import NodeOptions, Observation
from edge_agent.core.node import NodeCore
from edge_agent.jobs import Job
from edge_agent.link import HubLink, MakeBus
from edge_agent.sources.drive import drive
from edge_agent.values import is_finite
from edge_agent.watch import Watch
from messages import channels
from messages.bus.protocol import Bus, Will
from messages.codec import Format
from messages.delivery.rows import Kind
from messages.delivery.sqlite import SqliteStore
from messages.host.clock import Clock
from messages.settings import beside
from messages.shapes import Classes, Prediction
from messages.tensors import pack

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger("edge_agent")


class Agent:
    """One node at run time. Enter it to open its folder and go online; leaving it says goodbye and keeps every row."""

    def __init__(self, settings: AgentSettings, config_file: Path, *, make_bus: MakeBus | None = None) -> None:
        self.settings = settings
        self._config_file = config_file
        self._make_bus = make_bus or mqtt(settings, config_file)
        self._jobs = {name: jobs.build(name, job, config_file) for name, job in settings.jobs.items()}
        self._expected = Expected()
        self._exit = AsyncExitStack()
        self._stop = asyncio.Event()
        self._complaints: dict[str, str] = {}
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
            self.store = stack.enter_context(storage.opened(folder, full=self.settings.outbox.sync == "full"))
            self._start(self.store)
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [
                self._tasks.create_task(self.link.read(), name="read the bus"),
                self._tasks.create_task(self.link.keep_time(), name="keep time"),
            ]
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

        `job` may be left out when there is only one. Without a `sample_id` one is drawn. Raises SampleError when `x`
        is not what the job's engine takes.
        """
        task = self._job(job)
        value, (offload, reason, rank) = await task.judge(x)
        if offload and self.settings.payload is Format.JSON and not is_finite(value):
            value = Classes(probs=())
        seen = Observation(
            job=task.name, sample_id=sample_id or self._draw_id(), value=value, offload=offload, reason=reason,
            rank=rank, model=task.engine.digest,
        )  # fmt: skip
        clock = self._clock
        prediction = self._core.observe(seen, pack(x) if offload else None, clock.now(), clock.at())
        final = None
        if prediction.provisional:
            final = self._expected.expect(task.name, seen.sample_id)
            self.link.pump()
        self._hand_over(task, prediction)
        return EdgeAnswer(prediction, final)

    async def run(self) -> None:
        """Pull the jobs' sources until `stop` is called."""
        tasks = [
            self._tasks.create_task(drive(job, self.infer, self._skip), name=f"source of {job.name}")
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

    def deliver(self, final: Prediction) -> bool:
        """Take a final prediction from the link; False asks for it again later."""
        job = self._jobs.get(final.job)
        if job is not None and not self._hand_over(job, final):
            return False
        self._expected.settle(final)
        return True

    def look(self, silent_s: float) -> None:
        """Let the link have the log told what went wrong lately."""
        counters = self._core.counters.values()
        self._watch.look(unsent=sum(c.unsent for c in counters), kept=sum(c.hard for c in counters), silent_s=silent_s)

    def _start(self, store: SqliteStore) -> None:
        settings = self.settings
        self._clock = Clock(store.latest())
        self._stream = os.urandom(6).hex()
        options = NodeOptions(
            node=settings.node, version=naming.version(), form=settings.payload, beat_s=settings.beat_s,
            pace=settings.pace, caps=settings.outbox.caps,
        )  # fmt: skip
        self._core = NodeCore(store, options, stream=self._stream, random=Random())
        self._core.releases = {name: job.engine.digest for name, job in self._jobs.items()}
        self._watch = Watch(store, silence_s=settings.pace.last_s)
        self.link = HubLink(self._core, self._clock, settings=settings, make_bus=self._make_bus, owner=self)
        names = ", ".join(self._jobs) or "none"
        _log.info("node %s starts: jobs %s; %d messages wait from before", settings.node, names, self.backlog)

    def _leave(self, running: list[asyncio.Task[None]]) -> None:
        for task in running:
            task.cancel()
        for job in self._jobs.values():
            job.close()

    def _skip(self, job: str, readings: int) -> None:
        self.counters(job).skipped += readings

    def _hand_over(self, job: Job, prediction: Prediction) -> bool:
        """Give a prediction to the job's sink. One that fails is named once, until it fails in another way."""
        try:
            job.deliver(prediction)
        except plugins.PluginFailed as error:
            if self._complaints.get(job.name) != str(error):
                _log.error("job %s: sink %s", job.name, error)
            self._complaints[job.name] = str(error)
            return False
        self._complaints.pop(job.name, None)
        return True

    def _job(self, name: str) -> Job:
        if name in self._jobs:
            return self._jobs[name]
        if not name and len(self._jobs) == 1:
            return next(iter(self._jobs.values()))
        raise KeyError(f"job {name!r}: this agent has {', '.join(self._jobs) or 'none'}")

    def _draw_id(self) -> str:
        self._ids += 1
        return f"{self._stream}-{self._ids}"


def mqtt(settings: AgentSettings, config_file: Path) -> MakeBus:
    """The bus that a config names. Raises ConfigError when one of its files is missing."""
    broker = config.beside_config(settings.mqtt, config_file)

    def make(will: Callable[[], Will]) -> Bus:
        from messages.bus.mqtt import MqttBus

        down = channels.downlink(settings.namespace, settings.node)
        return MqttBus(broker, client_id=settings.node, subscriptions=[down], will=will, random=Random())

    return make
