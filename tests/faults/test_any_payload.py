"""Thousands of random and mutated payloads on every channel of both programs, known or not.

Nothing leaves the border, nothing good is lost behind anything bad, and what was bad once is nothing more the second
time. Each core runs on both stores, in memory and in SQLite, and must say the same on both.
"""

import sqlite3
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_hub.ingest.core import HubCore
from cloud_hub.ingest.exchange import Arrival, HubOptions, Output
from cloud_hub.ingest.exchange import Post as HubPost
from cloud_hub.ingest.inference import JobSpec, Predict
from cloud_hub.jobs.joint_inference import Spec
from cloud_hub.store.database import HubDatabase
from cloud_hub.store.protocol import HubStore, Verdict
from edge_agent.core.exchange import NodeOptions, Observation, Post
from edge_agent.core.node import NodeCore
from messages.channels import CHANNELS
from messages.codec import decode, encode
from messages.delivery.memory import MemoryStore
from messages.delivery.sqlite import SqliteStore
from messages.delivery.store import Store
from messages.shapes import Answer, Classes, Envelope, HardSample, Link, NodeStatus, Receipt, Tensor
from tests.simulation.hub_store import MemoryHubStore
from tests.support.mutations import VALID, arrival

KEPT = 20
"""Rows of the quarantine."""

AT = 1_700_000_000_000
VALUE = Classes(probs=(0.25, 0.75))
X = Tensor(dtype="float32", shape=(1,), data=bytes(4))
JOBS = {"side": JobSpec(dtype="float32", shape=(1,), batch=Spec(batch_size=4, batch_wait_s=0.0)), "digits": JobSpec()}
PATHS = sorted({*CHANNELS, *VALID, "in/digits", "up/unheard-of", "down/unheard-of", "sideways", "in/a/b", "in/+"})

Batch = Sequence[tuple[str, bytes]]


def many(
    paths: Sequence[str], number: int, *, batch: int = 40
) -> Callable[[Callable[[Batch], None]], Callable[[], None]]:
    """Play so many payloads on these paths, in batches."""

    def decorate(play: Callable[[Batch], None]) -> Callable[[], None]:
        @given(st.lists(st.integers(0, 2**64 - 1), min_size=batch, max_size=batch))
        @settings(max_examples=number // batch, suppress_health_check=list(HealthCheck))
        @pytest.mark.timeout(600)
        def played(numbers: list[int]) -> None:
            play([arrival(paths, each) for each in numbers])

        return played

    return decorate


def held(store: Any) -> dict[str, int]:
    """How much a store holds, by table; the quarantine, which has a bound of its own, is not counted."""
    if isinstance(store, MemoryStore):
        assert len(store.quarantined) <= KEPT
        sizes = {name: len(table) for name, table in vars(store).items() if isinstance(table, dict) and name != "_bad"}
        return sizes | {"seen": sum(len(stream.seen) for stream in store.streams.values())}
    ask: Callable[[str], sqlite3.Cursor] = store.connection.execute
    tables = [name for (name,) in ask("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {name: ask(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    assert rows.pop("quarantine") <= KEPT
    return rows | {"seen": ask("SELECT sum(length(seen)) FROM inbox").fetchone()[0]}


def same(given: Sequence[Any]) -> Any:
    """What both say."""
    assert given[0] == given[1]
    return given[0]


class Hubs:
    """A hub on each store, with a worker for each job; `cam-1` has an answer to come."""

    def __init__(self) -> None:
        memory, connection = MemoryHubStore(), sqlite3.connect(":memory:", isolation_level=None)
        memory._quarantine_rows = KEPT
        self.stores: list[HubStore] = [memory, HubDatabase(connection, quarantine_rows=KEPT)]
        self.now = 0.0
        self.start("h")

    def start(self, stream: str) -> None:
        """A hub starts on what an earlier one left."""
        options = HubOptions(budget=10**9)
        self.cores = [HubCore(store, options, JOBS, stream=stream, random=Random(1)) for store in self.stores]
        self.do(lambda core: core.start(self.now, AT))
        for job in JOBS:
            self.do(lambda core, job=job: core.ready(job, f"worker of {job}", "big", self.now, AT))  # type: ignore[misc]

    def do(self, what: Callable[[HubCore], Output]) -> list[HubPost]:
        """The same with every hub; the big models answer at once."""
        self.now += 0.01
        outs = [what(core) for core in self.cores]
        posts: list[HubPost] = list(same([out.posts for out in outs]))
        while any(out.predictions for out in outs):
            outs = [self._answer(core, out.predictions) for core, out in zip(self.cores, outs, strict=True)]
            posts += same([out.posts for out in outs])
        return posts

    def _answer(self, core: HubCore, predictions: Sequence[Predict]) -> Output:
        out = Output()
        for predict in predictions:
            verdicts = [Verdict(sample.row, VALUE) for sample in predict.samples]
            more = core.answered(predict.job, predict.worker, verdicts, self.now, AT)
            out.posts += more.posts
            out.predictions += more.predictions
        return out

    def receive(self, batch: Batch, node: str = "cam-1") -> list[HubPost]:
        """Take a batch in."""
        given = [Arrival(f"default/skerry/v1/{node}/{path}", payload) for path, payload in batch]
        same([core.refuse(given, "disk full", AT).posts for core in self.cores])
        return self.do(lambda core: core.receive(given, self.now, AT))

    def take_good(self, name: str) -> None:
        """A good sample is stored, receipted and answered."""
        for node in ("cam-1", "cam-2"):
            sample = HardSample(
                event_id=f"{name}.0", timestamp=AT, job="side", sample_id=name, x=X, edge=VALUE, reason="hard"
            )
            posts = self.receive([("up/sample", encode(sample))], node)
            (receipt,) = [post.payload for post in posts if post.path == "down/receipt"]
            assert decode(Receipt, receipt).done == (f"{name}.0",)
        answers = [decode(Answer, post.payload) for post in posts if (post.node, post.path) == ("cam-2", "down/answer")]
        assert name in [answer.sample_id for answer in answers]

    def beat(self, session: int) -> None:
        """Both nodes are there."""
        status = NodeStatus(event_id="r", timestamp=AT, state="online", session=session)
        for node in ("cam-1", "cam-2"):
            self.receive([("up/status", encode(status))], node)


def play_hub(batch: Batch) -> None:
    hubs = Hubs()
    hubs.beat(1)
    hubs.take_good("before")
    for item in batch:
        hubs.receive([item])
    hubs.take_good("after")
    hubs.receive(batch)
    before = [held(store) for store in hubs.stores]
    hubs.receive(batch)
    hubs.do(lambda core: core.tick(hubs.now + 100.0, AT))
    assert [held(store) for store in hubs.stores] == before
    hubs.start("later")
    same([store.nodes() for store in hubs.stores])
    same([store.reports() for store in hubs.stores])
    hubs.beat(2)
    hubs.take_good("in the end")


class Nodes:
    """A node on each store; one hard sample waits for its receipt."""

    def __init__(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.stores: list[Store] = [
            MemoryStore(quarantine_rows=KEPT), SqliteStore(connection, quarantine_rows=KEPT)
        ]  # fmt: skip
        self.now = 0.0
        self.start("s")

    def start(self, stream: str) -> None:
        """An agent starts on what an earlier one left."""
        options = NodeOptions(node="cam-1")
        self.cores = [NodeCore(store, options, stream=stream, random=Random(1)) for store in self.stores]
        for core in self.cores:
            core.new_session(AT)
            core.connected()

    def take(self, path: str, payload: bytes) -> list[Post]:
        """A message of the hub, its delivery, and what is due then."""
        self.now += 0.01
        posts: list[list[Post]] = []
        for core in self.cores:
            taken = core.take(path, payload, self.now, AT)
            said = core.settle([taken], self.now, AT) if taken is not None else []
            posts.append(said + core.due(self.now, AT))
            core.take_ended()
        return list(same(posts))

    def beat(self) -> None:
        """Time passes, and what was sent is receipted."""
        self.now += 100.0
        same([core.beat(self.now, AT, Link()).payload for core in self.cores])
        sent = same([core.due(self.now, AT) for core in self.cores])
        done = tuple(decode(Envelope, post.payload).event_id for post in sent)
        self.take("down/receipt", encode(Receipt(event_id="r", timestamp=AT, credit=64, done=done)))

    def send_good(self, name: str) -> None:
        """A hard sample is sent, receipted and answered."""
        self.take("down/receipt", encode(Receipt(event_id="r", timestamp=AT, credit=64)))
        seen = Observation(job="side", sample_id=name, value=VALUE, offload=True, reason="hard")
        posts: list[Post] = []
        for core in self.cores:
            assert core.observe(seen, X, self.now, AT).provisional
            posts = core.due(self.now, AT)
        sent = [decode(HardSample, post.payload) for post in posts if post.path == "up/sample"]
        (event_id,) = [sample.event_id for sample in sent if sample.sample_id == name]
        self.take("down/receipt", encode(Receipt(event_id="r", timestamp=AT, credit=64, done=(event_id,))))
        assert all(store.find("hub", "up/sample", "side", name) is None for store in self.stores)
        answer = Answer(event_id=f"{name}.0", timestamp=AT, job="side", sample_id=name, value=VALUE)
        receipts = [decode(Receipt, post.payload) for post in self.take("down/answer", encode(answer)) if
                    post.path == "up/receipt"]  # fmt: skip
        assert [receipt.done for receipt in receipts] == [(f"{name}.0",)]


def play_node(batch: Batch) -> None:
    nodes = Nodes()
    nodes.send_good("before")
    for item in batch:
        nodes.take(*item)
    nodes.send_good("after")
    for _ in range(3):
        nodes.beat()
        before = [held(store) for store in nodes.stores]
        for item in batch:
            nodes.take(*item)
    nodes.beat()
    assert [held(store) for store in nodes.stores] == before
    nodes.start("later")
    nodes.send_good("in the end")


test_no_payload_harms_a_hub = many(PATHS, 10_000)(play_hub)
test_no_payload_harms_a_node = many(PATHS, 5_000)(play_node)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("play", [play_hub, play_node])
def test_no_payload_on_one_channel_harms_anyone(play: Callable[[Batch], None], path: str) -> None:
    many([path], 10_000)(play)()
