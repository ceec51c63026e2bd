"""The hub at run time: the event loop carries what the cores decided in the database's thread.

bus -> inbox -> one turn in the thread (commit) -> batches to the workers
                                                -> sync -> receipts and answers to the bus -> acknowledgements

Nothing is published before it survives a power cut, but a model may look at a sample as soon as it is committed. When
there is something to do in the meantime, another thread syncs.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from random import Random

from msgspec import structs

from cloud_hub import config
from cloud_hub.config import HubSettings
from cloud_hub.health import Health
from cloud_hub.ingest.core import HubCore
from cloud_hub.ingest.exchange import Arrival, Output, Post
from cloud_hub.ingest.inference import Needed
from cloud_hub.keys import Keyring
from cloud_hub.offload.again import Again
from cloud_hub.store.database import HubDatabase
from cloud_hub.turns import Done, Step, Turns
from cloud_hub.uploads import Uploads
from cloud_hub.workers import pool
from cloud_hub.workers.pool import Pool
from messages import channels
from messages.blobs.exchange import Blobs
from messages.blobs.wire import Wire
from messages.bus.protocol import Bus, Connected, Denied, Disconnected, Incoming, NotConnected
from messages.codec import BadPayload, encode
from messages.host.clock import Clock
from messages.host.folder import FolderError

_log = logging.getLogger("cloud_hub")

BLOBS = tuple(f"/{channel.path}" for channel in (channels.UP_WANT, channels.UP_CHUNK))

RETRY_S = 1.0
"""What found no room is tried again after so many seconds."""

Committed = tuple[Output, Sequence[Incoming]]
"""What a turn leaves to do when it is synced, and the messages that it took in."""


class Hub:
    """One hub on one database and one bus. `folder` is where the user's modules lie: that of the config file."""

    def __init__(self, settings: HubSettings, store: HubDatabase, bus: Bus, *, folder: Path) -> None:
        self.health = Health()
        self.store = store
        self._settings = settings
        self._bus = bus
        store.sync_apart()
        self._clock = Clock(store.latest())
        data = Path(settings.data_dir)
        wire = Wire(bus, self._clock, namespace=settings.namespace, form=settings.payload)
        self.blobs = Blobs(data / "blobs", wire, self._clock, settings=settings.blobs, random=Random())
        for half in (self.blobs.fetching, self.blobs.sending):
            half.folder.reserve = settings.limits.disk_reserve
        self._uploads = Uploads(self.blobs, self._take_again)
        options = structs.replace(config.options(settings), keys=Keyring(data).now, shelf=self._uploads)
        self._core = HubCore(store, options, config.job_specs(settings), stream=os.urandom(6).hex(), random=Random())
        self._turns = Turns(store, self._core, self._clock, folder=data, limits=settings.limits)
        self.pool = Pool(settings.jobs, str(folder), tell=self._hear, random=Random())
        self.health.missing = self.pool.missing
        wanted = {name: job.recalibrate for name, job in settings.jobs.items() if job.recalibrate}
        self._again = Again(wanted, data)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._inbox: list[Incoming] = []
        self._steps: list[Step] = []
        self._wake = asyncio.Event()
        self._committed: list[Committed] = []
        self._unsynced = asyncio.Event()
        self._denied: set[str] = set()
        self._topic = lru_cache(65_536)(partial(_topic, settings.namespace))

    async def run(self) -> None:
        """Serve until cancelled: then the turn that runs is finished, and no worker is left. Raises FolderError."""
        try:
            async with self._bus, asyncio.TaskGroup() as group:
                group.create_task(self._listen(), name="hear the bus")
                group.create_task(self._work(), name="take turns")
                group.create_task(self._promise(), name="sync and publish")
                group.create_task(self.pool.run(), name="keep the workers")
                group.create_task(self._again.run(), name="calibrate again")
        except ExceptionGroup as group:
            broken = group.subgroup(FolderError)
            raise broken.exceptions[0] if broken is not None else group from None
        finally:
            self._thread.shutdown()
            self._disk.shutdown()
            await self._uploads.close()

    async def _listen(self) -> None:
        inbox, wake = self._inbox, self._wake
        async for event in self._bus.events():
            if type(event) is Incoming:
                if event.topic.endswith(BLOBS) and self._take_blob(event):
                    continue
                inbox.append(event)
                wake.set()
                continue
            match event:
                case Connected(protocol):
                    self.blobs.online()
                    self._link(f"connected to the broker, MQTT {protocol}", "", self._core.online)
                case Disconnected(reason, retry_s, refused):
                    level = logging.ERROR if refused else logging.WARNING
                    self._denied.clear()
                    self.blobs.away()
                    text = f"no connection to the broker: {reason}; trying again in {retry_s:.1f} s"
                    self._link(text, reason, self._core.offline, level)
                case Denied(topic, reason):
                    self._denial(topic, reason)

    def _take_blob(self, event: Incoming) -> bool:
        """Whether it was for the blobs; what they cannot read the core puts where a person sees it."""
        try:
            address = channels.parse(event.topic)
            if address.channel is None or event.retained:
                return False
            wrong = self.blobs.take(address.node, address.channel.shape, event.payload)
        except (channels.BadTopic, BadPayload):
            return False
        if wrong:
            self._step(partial(self._core.complain, Arrival(event.topic, event.payload), wrong))
        self._bus.ack(event)
        return True

    def _take_again(self, needed: Needed) -> None:
        """A sample's blob is there, or never will be: take the sample in once more."""
        topic = self._topic(channels.UP_SAMPLE.path, needed.node)
        self._inbox.append(Incoming(topic, encode(needed.sample), retained=False, token=None))
        self._wake.set()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        done = await loop.run_in_executor(self._thread, self._turns.start)
        self._carry(done, ())
        while True:
            await self._rest(done.wake)
            arrivals, steps = list(self._inbox), list(self._steps)
            self._inbox.clear()
            self._steps.clear()
            done, synced = await loop.run_in_executor(self._thread, self._turn, arrivals, steps)
            self._carry(done, arrivals)
            if synced:
                self._publish(self._take_committed())
            elif self._committed:
                self._unsynced.set()

    def _turn(self, arrivals: Sequence[Incoming], steps: Sequence[Step]) -> tuple[Done, bool]:
        """One turn, and whether its thread synced it at once: nothing else waits, so another would only cost time."""
        done = self._turns.turn(arrivals, steps)
        synced = not (self._inbox or self._steps or done.out.predictions) and bool(done.out.posts or arrivals)
        if synced:
            self.store.sync()
        return done, synced

    async def _rest(self, until: float) -> None:
        """Wait until something arrives or happens, or until a time."""
        if self._inbox or self._steps:
            return
        self._wake.clear()
        alarm = asyncio.get_running_loop().call_later(max(0.001, until - self._clock.now()), self._wake.set)
        await self._wake.wait()
        alarm.cancel()

    def _carry(self, done: Done, arrivals: Sequence[Incoming]) -> None:
        """After the commit: batches to the workers; what is to be published waits for the disk."""
        self.health.turns += 1
        self.health.messages += len(arrivals)
        self._room(done)
        for predict in done.out.predictions:
            self.pool.predict(predict.worker, predict.samples)
        for note in done.out.notes:
            _log.info(note)
        if done.out.posts or arrivals:
            self._committed.append((done.out, arrivals))

    async def _promise(self) -> None:
        """Sync what was committed while the next turn runs, all turns at once, and publish it."""
        loop = asyncio.get_running_loop()
        while True:
            await self._unsynced.wait()
            self._unsynced.clear()
            committed = self._take_committed()
            await loop.run_in_executor(self._disk, self.store.sync)
            self._publish(committed)

    def _take_committed(self) -> Sequence[Committed]:
        committed, self._committed = self._committed, []
        return committed

    def _publish(self, synced: Sequence[Committed]) -> None:
        """Of each turn receipts and answers first, then acknowledgements, then blobs that it needs or has stored."""
        for out, arrivals in synced:
            self._post(out.posts)
            for event in arrivals:
                self._bus.ack(event)
            for needed in out.needed:
                self._uploads.need(needed)
            self._uploads.spent(out.spent)

    def _post(self, posts: Sequence[Post]) -> None:
        post, topic = self._bus.post, self._topic
        try:
            for item in posts:
                post(topic(item.path, item.node), item.payload)
        except NotConnected:
            # all that matters is in the outbox and goes out again
            return

    def _room(self, done: Done) -> None:
        if done.again:
            asyncio.get_running_loop().call_later(RETRY_S, self._later, done.again)
        if done.full == self.health.database:
            return
        if done.full:
            _log.error("no room: %s; the nodes keep their samples and offer them again", done.full)
        else:
            _log.info("there is room again")
        self.health.database = done.full

    def _later(self, steps: Sequence[Step]) -> None:
        self._steps[:0] = steps
        self._wake.set()

    def _link(self, text: str, problem: str, tell_core: Callable[[], None], level: int = logging.INFO) -> None:
        """The link came or went. The same trouble is told once, however often it comes."""
        if problem != self.health.broker:
            _log.log(level, text)
        self.health.broker = problem

        def step(_now: float, _at: int) -> Output:
            tell_core()
            return Output()

        self._step(step)

    def _denial(self, topic: str, reason: str) -> None:
        """The broker refused a topic: said once in a connection, for every message to it is refused."""
        if topic not in self._denied:
            self._denied.add(topic)
            _log.error("the broker denies %s: %s", topic, reason)

    def _hear(self, event: pool.Event) -> None:
        """Something happened to a worker."""
        job, worker, core = event.job, event.worker, self._core
        match event:
            case pool.Ready(digest=digest):
                _log.info("job %s: worker %s is ready%s", job, worker, f", model {digest[:12]}" if digest else "")
                self._step(partial(core.ready, job, worker, digest))
            case pool.Answered(verdicts=verdicts):
                self._step(partial(core.answered, job, worker, verdicts))
            case pool.Died(reason=reason, retry_s=retry_s):
                _log.error("job %s: worker %s: %s; another starts in %.1f s", job, worker, reason, retry_s)
                self.health.deaths[job] = self.health.deaths.get(job, 0) + 1
                self._step(partial(core.died, job, worker, reason))
        self.health.missing = self.pool.missing

    def _step(self, step: Step) -> None:
        self._steps.append(step)
        self._wake.set()


def _topic(namespace: str, path: str, node: str) -> str:
    return channels.CHANNELS[path].topic(namespace, node)
