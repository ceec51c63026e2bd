"""The device's other programs: readings come in on `in/{job}`, predictions go out on `out/{job}`.

A reading is acknowledged when its answer is published and, where it is hard, its row is stored. What cannot be used is
answered too: without a value, and with the reason.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from edge_agent.core.exchange import Told
from edge_agent.core.node import NodeCore
from edge_agent.core.readings import BadReading, Handed, name_of
from edge_agent.jobs import Job, SampleError
from edge_agent.plugins import PluginFailed
from messages import channels
from messages.bus.protocol import Bus, Connected, Denied, Disconnected, Incoming, NotConnected, PublishDenied
from messages.codec import BadPayload, encode
from messages.host.clock import Clock
from messages.shapes import Prediction, Reading, Tensor
from messages.tensors import from_lists, unpack

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger("edge_agent")


class Judge(Protocol):
    """What answers a sample, and tells the apps."""

    def __call__(self, x: "np.ndarray[Any, Any]", *, job: str, sample_id: str, handed: Handed) -> Awaitable[object]:
        """Judge one sample of a job."""


class Apps:
    """Readings in, predictions out, over the device's own broker or (`shared`) over the hub's.

    The bus of the own broker bounds what waits there. Over the hub's, where everything else comes in too, at most
    `credit` readings of a job wait for their answers, and what comes faster is refused at once; 0 is no bound.
    """

    def __init__(self, bus: Bus, core: NodeCore, clock: Clock, *, namespace: str, credit: int) -> None:
        self._bus = bus
        self._core = core
        self._clock = clock
        self._namespace = namespace
        self._credit = credit
        self._waiting: dict[str, asyncio.Queue[Incoming]] = {}
        self._said = ""
        self._telling: set[asyncio.Task[None]] = set()

    def start(self, jobs: Mapping[str, Job], judge: Judge, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Serve these jobs, one reading of each at a time; returns the tasks that do."""
        self._waiting = {name: asyncio.Queue(self._credit) for name in jobs}
        return [tasks.create_task(self._serve(job, judge), name=f"readings of {name}") for name, job in jobs.items()]

    async def read(self) -> None:
        """Take in all that the device's own broker tells, until cancelled."""
        async with self._bus as bus:
            async for event in bus.events():
                match event:
                    case Incoming():
                        self.take(event)
                    case Connected():
                        self._say(logging.INFO, f"connected to the apps' broker, MQTT {event.protocol}")
                    case Disconnected():
                        level = logging.ERROR if event.refused else logging.WARNING
                        self._say(level, f"no connection to the apps' broker: {event.reason}; trying again")
                    case Denied():
                        self._say(logging.ERROR, f"the apps' broker denies {event.topic[:200]}: {event.reason}")

    def take(self, event: Incoming) -> None:
        """Put a reading into its job's queue."""
        try:
            address = channels.parse(event.topic)
            if address.channel is not channels.IN or event.retained:
                raise BadReading("not a reading" if not event.retained else "a retained reading: never retain them")
            if address.job not in self._waiting:
                raise BadReading(f"job {address.job!r}: this agent has {', '.join(self._waiting) or 'none'}")
            self._waiting[address.job].put_nowait(event)
        except (channels.BadTopic, BadReading) as error:
            self._core.quarantine(event.topic, event.payload, str(error), self._clock.at())
            self._bus.ack(event)
        except asyncio.QueueFull:
            said = f"{self._credit} readings wait already: hand in fewer at once"
            self._refuse(event, address.job, BadReading(said, name_of(event.payload)))

    def tell(self, prediction: Prediction) -> None:
        """Publish an edge prediction; an app that was not there has missed it."""
        try:
            self._bus.post(self._topic(prediction.job), encode(prediction, self._core.options.form))
        except NotConnected:
            return

    def confirm(self, final: Prediction, then: Callable[[Told], None]) -> None:
        """Publish a final prediction, and say when the broker has it or that there is none."""
        task = asyncio.get_running_loop().create_task(self._confirm(final, then), name="tell a final prediction")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def close(self) -> None:
        """Let what is being told go; the hub offers it again."""
        for task in self._telling:
            task.cancel()

    async def _confirm(self, final: Prediction, then: Callable[[Told], None]) -> None:
        try:
            await self._bus.publish(self._topic(final.job), encode(final, self._core.options.form))
        except (NotConnected, PublishDenied):
            then(Told.AWAY)
        else:
            then(Told.TOLD)

    async def _serve(self, job: Job, judge: Judge) -> None:
        queue = self._waiting[job.name]
        while True:
            event = await queue.get()
            try:
                handed = self._core.readings.read(job.name, event.payload, self._clock.at())
                x = _array(handed.reading, job.engine.input.dtype)
                await judge(x, job=job.name, sample_id=handed.reading.sample_id, handed=handed)
            except (BadPayload, SampleError, PluginFailed) as error:
                self._core.quarantine(event.topic, event.payload, str(error), self._clock.at())
                name = error.sample_id if isinstance(error, BadReading) else handed.reading.sample_id
                self._refuse(event, job.name, BadReading(str(error), name))
            else:
                self._bus.ack(event)

    def _refuse(self, event: Incoming, job: str, error: BadReading) -> None:
        """Tell the app why there is no answer, if it said a name to answer under."""
        at = self._clock.at()
        self._core.counters_of(job).refused += 1
        if error.sample_id:
            name = error.sample_id
            self.tell(
                Prediction(
                    event_id=name, timestamp=at, job=job, sample_id=name, value=None, provisional=False, origin="edge",
                    reason=f"refused: {error}",
                )
            )  # fmt: skip
        self._bus.ack(event)

    def _say(self, level: int, line: str) -> None:
        """The same trouble is told once, however often it comes."""
        if line != self._said:
            _log.log(level, line)
        self._said = line

    def _topic(self, job: str) -> str:
        return channels.OUT.topic(self._namespace, self._core.options.node, job)


def _array(reading: Reading, dtype: str) -> "np.ndarray[Any, Any]":
    return unpack(reading.x) if isinstance(reading.x, Tensor) else from_lists(reading.x, dtype)
