"""A simulated device: the agent's core on a memory store, killed, cut off, filled up and restored at will."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from edge_agent.core.exchange import NodeOptions, Observation, Post
from edge_agent.core.node import NodeCore
from messages import channels
from messages.codec import encode
from messages.delivery.bounds import Caps
from messages.delivery.memory import MemoryStore
from messages.delivery.rows import Kind
from messages.delivery.sender import Pace
from messages.delivery.store import StoreFull
from messages.offload.shapes import OffloadPolicy
from messages.shapes import Classes, Link, Prediction, Tensor
from tests.simulation.blobs import Attic
from tests.simulation.keys import WorldsKeys
from tests.simulation.network import Link as NetworkLink
from tests.simulation.network import Network
from tests.simulation.timeline import Timeline

NAMESPACE = "sim"
SMALL = 16
JOB, LATE_JOB = "digits", "letters"
VALUE = Classes(probs=(0.6, 0.4))
PACE = Pace(window=4, first_s=2.0, last_s=60.0)
CAPS = {Kind.SAMPLE: Caps(rows=7)}


class FaultyStore(MemoryStore):
    """A store whose disk can be full: then no transaction that changed something commits."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As the real one, when there is room."""
        with super().transaction():
            yield
            if self.full and self._undo:
                raise StoreFull("the simulated disk is full")


class Runs:
    """A job as far as the hub may change it: it only remembers its policy. The second one's rule is fixed."""

    def __init__(self, *, takes_policies: bool) -> None:
        self.takes_policies = takes_policies
        self.policy: OffloadPolicy | None = None

    def objection(self, policy: OffloadPolicy) -> str:
        """A fixed rule stays."""
        return "" if self.takes_policies else "its rule is fixed"

    def adopt(self, policy: OffloadPolicy) -> str:
        """Use it from now on."""
        self.policy = policy
        return ""


class Device:
    """One node and its app. What the app was told is kept outside the store: nothing that breaks can take it back."""

    def __init__(
        self, name: str, timeline: Timeline, network: Network, random: Random, *, keys: WorldsKeys, settle_early: bool
    ) -> None:
        self.name = name
        self.store = FaultyStore()
        self.promised: dict[str, tuple[str, bytes]] = {}
        self.ended: set[str] = set()
        self.finals: dict[str, int] = {}
        self.excused: set[str] = set()
        self.may_hear_twice: set[str] = set()
        self.restored = False
        self.place = (0, 0)
        self.went_back: list[tuple[int, int]] = []
        self._timeline = timeline
        self._network = network
        self._random = random
        self._keys = keys
        self._settle_early = settle_early
        self._unsettled: set[str] = set()
        self._core: NodeCore | None = None
        self._jobs = {JOB: Runs(takes_policies=True)}
        self._wake = 0.0
        self.attic = Attic(self.store)
        self._backup: tuple[dict[str, Any], set[str], dict[str, Any]] | None = None
        network.join(name, NetworkLink(self._deliver, self._link))

    @property
    def alive(self) -> bool:
        """Does the process run?"""
        return self._core is not None

    @property
    def runs(self) -> int:
        """The version of the policy that is in force; 0 without one."""
        policy = self._jobs[JOB].policy
        return 0 if policy is None else policy.version

    @property
    def key_epoch(self) -> int:
        """The epoch of its key list; 0 without one."""
        return (self._core.desired.told()["key_epoch"] or 0) if self._core else 0

    @property
    def waiting(self) -> int:
        """Samples in the outbox."""
        return sum(row.path == channels.UP_SAMPLE.path for row in self._rows())

    def start(self) -> None:
        """Start the process, and connect a little later."""
        if self._core is not None:
            return
        options = NodeOptions(
            node=self.name, namespace=NAMESPACE, pace=PACE, beat_s=60.0, caps=CAPS, keys=self._keys.fixed,
            roots=self._keys.roots,
        )  # fmt: skip
        stream = f"{self._random.getrandbits(40):010x}"
        self._core = NodeCore(self.store, options, stream=stream, random=self._random)
        self._jobs = {job: Runs(takes_policies=job == JOB) for job in (JOB, LATE_JOB)}
        self._core.releases = dict.fromkeys(self._jobs, "edge-model-1")
        self._core.desired.start(self._jobs)
        self._watch_place(self._core)
        self.connect()
        self._beat(self._core)

    def connect(self) -> None:
        """Connect, with the connection's own last will."""
        if self._core is None or self._network.up(self.name):
            return
        self._core.new_session(self._timeline.at)
        will = self._core.status("offline", self._timeline.at, Link())
        self._network.connect(self.name, (self._topic(will), will.payload))

    def kill(self) -> None:
        """SIGKILL: what is committed stays, nothing else does."""
        if self._core is not None:
            self._core = None
            self.may_hear_twice |= self._unsettled
            self._unsettled.clear()
            self._network.cut(self.name)

    def back_up(self) -> None:
        """Take the backup that `restore` brings back."""
        self._backup = (self.store.snapshot(), set(self.promised), dict(self.attic.files))

    def restore(self) -> None:
        """Kill the process and bring back an old database: what was only in the newer one is nobody's to keep."""
        if self._backup is None:
            return
        self.kill()
        snapshot, known, self.attic.files = self._backup
        self.excused |= set(self.promised) - known
        self.store.restore(snapshot)
        self.restored = True
        self.place = (0, 0)

    def rob(self) -> None:
        """A thief of the hub's release key sends this node a policy."""
        payload = self._keys.forged(self.name, JOB)
        topic = channels.DOWN_DESIRED.topic(NAMESPACE, self.name)
        self._network.publish(self.name, topic, payload, to=self.name)

    def sample(self, job: str, sample_id: str, *, size: int, kill_after_commit: bool) -> None:
        """The model of a job is unsure of a sample; one of more than a few bytes goes as a blob."""
        if self._core is None:
            return
        data = self._random.randbytes(size)
        seen = Observation(job=job, sample_id=sample_id, value=VALUE, offload=True, reason="hard")
        x = Tensor(dtype="uint8", shape=(size,), data=data)
        if size > SMALL:
            x = Tensor(dtype="uint8", shape=(size,), data=b"", blob=self.attic.put(data))
        prediction = self._core.observe(seen, x, self._timeline.now, self._timeline.at)
        if prediction.provisional:
            self.promised[sample_id] = (job, data)
        if kill_after_commit:
            self.kill()
        self._flush()

    def _deliver(self, topic: str, payload: bytes, retained: bool) -> None:
        if self._core is None:
            return
        self._timeline.note(self.name, "got", topic)
        if channels.parse(topic).channel is channels.DOWN_WANT:
            self.attic.answer(payload, lambda path, answer: self._post([Post(path, answer)]))
            return
        taken = self._core.take(channels.parse(topic).path, payload, self._timeline.now, self._timeline.at)
        if taken is not None:
            if taken.final is not None:
                self._final(taken.final)
            posts = self._core.settle([taken], self._timeline.now, self._timeline.at)
            self._post(posts)
            self._note_settled(taken.answer.sample_id, settled=bool(posts))
        self._watch_place(self._core)
        self._flush()
        if self._core.desired.take_news():
            self._timeline.note(self.name, "runs", self.runs)
            self._post([self._core.status("online", self._timeline.at, Link())])

    def _watch_place(self, core: NodeCore) -> None:
        """What a node has accepted only grows, but for a restored database."""
        ratchet = core.desired._ratchet
        place = ratchet.epoch, ratchet.seq
        if place < self.place:
            self.went_back.append(place)
        self.place = place

    def _note_settled(self, sample_id: str, *, settled: bool) -> None:
        """An answer that the app has and a full disk could not settle: after a kill nobody knows that it was given."""
        if settled:
            self._unsettled.discard(sample_id)
        else:
            self._unsettled.add(sample_id)

    def _final(self, final: Prediction) -> None:
        self.finals[final.sample_id] = self.finals.get(final.sample_id, 0) + 1

    def _link(self, up: bool) -> None:
        if self._core is None:
            return
        if not up:
            self._core.disconnected()
            self._timeline.after(self._random.uniform(0.5, 5.0), self.connect)
            return
        self._core.connected()
        self._post([self._core.status("online", self._timeline.at, Link())])
        self._flush()

    def _beat(self, core: NodeCore) -> None:
        if core is self._core:
            self.attic.sweep()
            self._post([core.beat(self._timeline.now, self._timeline.at, Link())])
            self._flush()
            self._timeline.after(60.0, lambda: self._beat(core))

    def _flush(self) -> None:
        core = self._core
        if core is None:
            return
        posts = core.due(self._timeline.now, self._timeline.at)
        self.ended |= {ended.sample_id for ended in core.take_ended()}
        self._post(posts)
        if self._settle_early:
            self._believe_puback(core)
        wake = core.sender.wake_at()
        if wake is not None and (wake < self._wake or self._wake <= self._timeline.now):
            self._wake = wake
            self._timeline.after(wake - self._timeline.now + 0.001, lambda: self._alarm(core, wake))

    def _alarm(self, core: NodeCore, wake: float) -> None:
        if core is self._core and wake == self._wake:
            self._wake = 0.0
            self._flush()

    def _believe_puback(self, core: NodeCore) -> None:
        """What happens without receipts: the broker's word is taken for the hub's."""
        from messages.shapes import Receipt

        ids = tuple(row.event_id for row in self._rows() if row.stream)
        if ids:
            receipt = Receipt(event_id="puback", timestamp=0, done=ids, credit=8)
            core.take(channels.DOWN_RECEIPT.path, encode(receipt), self._timeline.now, self._timeline.at)

    def _post(self, posts: list[Post]) -> None:
        for post in posts:
            self._network.publish(self.name, self._topic(post), post.payload, to="hub", retain=post.retain)

    def _topic(self, post: Post) -> str:
        return channels.CHANNELS[post.path].topic(NAMESPACE, self.name)

    def _rows(self) -> list[Any]:
        rows = list(self.store.windowed(channels.HUB))
        return rows + list(self.store.fresh(channels.HUB, 1000, float("inf")))
