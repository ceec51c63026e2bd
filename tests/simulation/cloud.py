"""The simulated hub: its core on a memory store, with workers that die, a full disk, and kills at every step."""

from collections.abc import Callable
from functools import partial
from random import Random

from cloud_hub.ingest.core import HubCore
from cloud_hub.ingest.desired import wanted
from cloud_hub.ingest.exchange import Arrival, HubOptions, Output
from cloud_hub.ingest.inference import JobSpec, Needed, Predict
from cloud_hub.store.protocol import Added, Verdict
from messages import channels
from messages.codec import encode
from messages.delivery.store import StoreFull
from messages.offload.shapes import OffloadPolicy
from messages.shapes import Classes, HardSample
from tests.simulation.blobs import Uploads
from tests.simulation.devices import JOB, LATE_JOB, NAMESPACE, PACE, Device, FaultyStore
from tests.simulation.hub_store import MemoryHubStore, Told
from tests.simulation.keys import WorldsKeys
from tests.simulation.network import Link, Network
from tests.simulation.plan import Plan
from tests.simulation.timeline import Timeline

ANSWER = Classes(probs=(0.1, 0.9))


class CountingStore(MemoryHubStore, FaultyStore):
    """Counts how often each message's effect was applied, in and out of the natural key's sight."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: dict[tuple[str, str], int] = {}

    def add_sample(self, node: str, sample: HardSample, digest: bytes, received_at: int) -> Added:
        """As the real one, and counted."""
        added = super().add_sample(node, sample, digest, received_at)
        self._set(self.applied, (node, sample.event_id), self.applied.get((node, sample.event_id), 0) + 1)
        return added


class Cloud:
    """The hub's process and its workers."""

    def __init__(self, timeline: Timeline, network: Network, random: Random, plan: Plan) -> None:
        self.store = CountingStore()
        self.keys = WorldsKeys(random, NAMESPACE, rooted=random.random() < plan.rooted)
        self._timeline = timeline
        self._network = network
        self._random = random
        self._plan = plan
        self._core: HubCore | None = None
        self._inbox: list[Arrival] = []
        self._wake = 0.0
        self._versions = 0
        self._backup: Told | None = None
        self._uploads = Uploads(timeline, random, self._send)
        self._uploads.again = self._again
        network.join("hub", Link(self._deliver, self._link))

    @property
    def waiting(self) -> int:
        """Answers in the outbox, and samples without an answer."""
        rows = sum(len(self.store.windowed(peer)) for peer in self.store.peers())
        fresh = sum(len(self.store.fresh(peer, 1000, float("inf"))) for peer in self.store.peers())
        return rows + fresh + sum(self.store.sample_totals(job).waiting for job in (JOB, LATE_JOB))

    def start(self) -> None:
        """Start the process with two workers, and connect."""
        if self._core is not None:
            return
        options = HubOptions(
            namespace=NAMESPACE,
            pace=PACE,
            credit=4,
            retry_s=3.0,
            shelf=self._uploads,
            keys=lambda: self.keys.signing,
        )
        stream = f"{self._random.getrandbits(40):010x}"
        core = HubCore(self.store, options, self._jobs(), stream=stream, random=self._random)
        self._core = core
        self._try(lambda: core.start(self._timeline.now, self._timeline.at))
        for job in self._jobs():
            for worker in (f"{job}-0", f"{job}-1"):
                self._worker_ready(core, job, worker)
        self.connect()

    def connect(self) -> None:
        """Connect, or try again."""
        if self._core is not None and not self._network.up("hub"):
            self._network.connect("hub")

    def want(self, node: str) -> None:
        """A person changes the policy of one node ("": of all), or of the job whose rule is fixed."""
        self._versions += 1
        job = JOB if self._random.random() < 0.8 else LATE_JOB
        document = encode(OffloadPolicy(job=job, version=self._versions))
        self._timeline.note("wanted", job, node, self._versions)
        core, now, at = self._core, self._timeline.now, self._timeline.at
        if core is None:  # a command beside a hub that does not run
            self._beside(job, node, document)
        else:
            self._try(lambda: core.desire(job, node or None, document, now, at))

    def wants(self, node: str) -> int:
        """The version that a node should run; 0 when none."""
        found = self.store.policy(JOB, node)
        return 0 if found is None else found.version

    def differs(self, device: Device) -> bool:
        """Whether a device does not run what it should, or trusts other keys than it should.

        Where nothing is wanted (any more) it may run anything.
        """
        return self.wants(device.name) not in (0, device.runs) or device.key_epoch != self.keys.epoch

    def back_up(self) -> None:
        """Take the backup that `restore` brings back."""
        self._backup = self.store.told()

    def restore(self) -> None:
        """Kill the process and forget what was wanted and what nodes were told since the backup."""
        self.kill()
        if self._backup is not None:
            self._timeline.note("restored hub")
            self.store.tell(self._backup)

    def _beside(self, job: str, node: str, document: bytes) -> None:
        try:
            with self.store.transaction():
                self.store.save_policy(wanted(job, node, document, self._timeline.at))
        except StoreFull:
            return

    def kill(self) -> None:
        """SIGKILL; the workers notice that their pipe is closed and go too."""
        self._core = None
        self._uploads.kill()
        self._inbox.clear()
        self._network.cut("hub")

    def _link(self, up: bool) -> None:
        if not up and self._core is not None:
            self._core.offline()
            self._timeline.after(self._random.uniform(0.5, 3.0), self.connect)

    def _send(self, node: str, path: str, payload: bytes) -> None:
        self._network.publish("hub", channels.CHANNELS[path].topic(NAMESPACE, node), payload, to=node)

    def _again(self, needed: Needed) -> None:
        self._deliver(channels.UP_SAMPLE.topic(NAMESPACE, needed.node), encode(needed.sample), False)

    def _deliver(self, topic: str, payload: bytes, retained: bool) -> None:
        address = channels.parse(topic)
        if address.channel is channels.UP_CHUNK:
            self._uploads.took(address.node, payload)
            return
        if not self._inbox:
            self._timeline.after(0.01, self._ingest)
        self._inbox.append(Arrival(topic, payload, retained))

    def _ingest(self) -> None:
        batch, self._inbox = self._inbox, []
        core = self._core
        if core is None or not batch:
            return
        try:
            out = core.receive(batch, self._timeline.now, self._timeline.at)
        except StoreFull:
            out = core.refuse(batch, "disk full", self._timeline.at)
        self._carry(core, out)

    def _try(self, work: Callable[[], Output]) -> None:
        """Work that must happen: on a full disk it is tried again until it does."""
        core = self._core
        if core is None:
            return
        try:
            out = work()
        except StoreFull:
            self._timeline.after(1.0, lambda: self._try(work) if core is self._core else None)
            return
        self._carry(core, out)

    def _carry(self, core: HubCore, out: Output) -> None:
        if self._network.stormy and self._random.random() < 0.002:
            self._timeline.note("hub killed between commit and publish")
            self.kill()
            self._timeline.after(self._random.uniform(0.1, 5.0), self.start)
            return
        for post in out.posts:
            self._send(post.node, post.path, post.payload)
        for needed in out.needed:
            self._uploads.need(needed)
        self._uploads.spent(out.spent)
        for predict in out.predictions:
            self._timeline.after(self._random.uniform(0.01, 0.5), partial(self._predicted, core, predict))
        self._set_alarm(core)

    def _predicted(self, core: HubCore, predict: Predict) -> None:
        if core is not self._core:
            return
        now, at = self._timeline.now, self._timeline.at
        poisoned = any(sample.x.data[0] < 256 * self._plan.poison for sample in predict.samples)
        if poisoned or (self._network.stormy and self._random.random() < self._plan.worker_death):
            self._timeline.note("worker died", predict.worker)
            self._try(lambda: core.died(predict.job, predict.worker, "killed", now, at))
            self._timeline.after(1.0, lambda: self._worker_ready(core, predict.job, predict.worker))
            return
        verdicts = [Verdict(sample.row, ANSWER) for sample in predict.samples]
        self._try(lambda: core.answered(predict.job, predict.worker, verdicts, now, at))

    def _worker_ready(self, core: HubCore, job: str, worker: str) -> None:
        if core is self._core:
            self._try(lambda: core.ready(job, worker, "model-1", self._timeline.now, self._timeline.at))

    def _jobs(self) -> dict[str, JobSpec]:
        """The operator adds the second job late: its samples are told to wait until then."""
        late = self._timeline.now > self._plan.storm_s / 2
        return {JOB: JobSpec(), LATE_JOB: JobSpec()} if late else {JOB: JobSpec()}

    def _set_alarm(self, core: HubCore) -> None:
        wake = core.wake_at()
        if wake is not None and (wake < self._wake or self._wake <= self._timeline.now):
            self._wake = wake
            self._timeline.after(wake - self._timeline.now + 0.001, lambda: self._alarm(core, wake))

    def _alarm(self, core: HubCore, wake: float) -> None:
        if core is self._core and wake == self._wake:
            self._wake = 0.0
            self._try(lambda: core.tick(self._timeline.now, self._timeline.at))
