"""What a node promises its apps and does with the hub's messages, without time, network and disk."""

import math
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from edge_agent.core.exchange import NodeOptions, Observation, Post, Taken
from edge_agent.core.node import NodeCore
from messages.codec import Format, decode, encode
from messages.delivery.bounds import Caps
from messages.delivery.ledger import close
from messages.delivery.receiver import Verdict
from messages.delivery.rows import Kind, Outcome
from messages.delivery.sender import Pace
from messages.shapes import Answer, Deferral, Envelope, HardSample, Link, NodeStatus, Receipt, Refusal, Report, Scalar
from tests.support.messages import TENSOR
from tests.support.nodes import AT, CLOUD, EDGE, FullStore

LINK = Link(protocol="5", connects=1)


class Node:
    """A node's core with its store."""

    def __init__(self, store: FullStore | None = None, *, stream: str = "n", **options: Any) -> None:
        self.store = store or FullStore()
        self.core = NodeCore(self.store, NodeOptions(node="cam-1", **options), stream=stream, random=Random(1))
        self.now = 0.0

    def observe(self, number: int = 1, *, offload: bool = True, **changes: Any) -> Any:
        """The model has judged a sample."""
        seen = Observation(
            job="digits", sample_id=f"sample-{number}", value=EDGE, offload=offload,
            reason="hard" if offload else "easy", **changes,
        )  # fmt: skip
        return self.core.observe(seen, TENSOR, self.now, AT)

    def due(self, now: float | None = None) -> list[Post]:
        """What the node publishes now."""
        self.now = self.now if now is None else now
        return self.core.due(self.now, AT)

    def samples(self, now: float | None = None) -> list[HardSample]:
        """The hard samples among it."""
        return [decode(HardSample, post.payload) for post in self.due(now) if post.path == "up/sample"]

    def answer(self, seq: int = 0, **changes: Any) -> Taken | None:
        """The hub's answer comes."""
        fields: dict[str, Any] = {
            "event_id": f"h.{seq}",
            "timestamp": AT,
            "job": "digits",
            "sample_id": f"sample-{seq}",
            "value": CLOUD,
        }
        return self.core.take("down/answer", encode(Answer(**(fields | changes))), self.now, AT)

    def settle(self, *taken: Taken | None) -> list[Receipt]:
        """Answers have been delivered to the apps."""
        posts = self.core.settle([item for item in taken if item is not None], self.now, AT)
        return [decode(Receipt, post.payload) for post in posts]

    def receive(self, *done: str, **changes: Any) -> None:
        """The hub's receipt comes."""
        receipt = Receipt(event_id="r.1", timestamp=AT, done=done, credit=64, **changes)
        assert self.core.take("down/receipt", encode(receipt), self.now, AT) is None

    def books(self) -> dict[str, int]:
        """Sums of the ledger by outcome."""
        sums: dict[str, int] = {}
        for entry, number in self.store.ledger().items():
            sums[entry.outcome] = sums.get(entry.outcome, 0) + number
        return sums


def connected(**options: Any) -> Node:
    node = Node(**options)
    node.core.connected()
    return node


def test_an_easy_sample_is_final_and_stays_here() -> None:
    node = connected()
    prediction = node.observe(offload=False)
    assert (prediction.provisional, prediction.origin, prediction.value) == (False, "edge", EDGE)
    assert (node.due(), node.books()) == ([], {})


def test_a_hard_sample_is_provisional_and_sent_with_all_that_is_known_of_it() -> None:
    node = connected()
    prediction = node.observe(rank=0.7, model="sha256:ab")
    assert (prediction.provisional, prediction.sample_id, prediction.reason) == (True, "sample-1", "hard")
    (sent,) = node.samples()
    assert sent == HardSample(
        event_id="n.0", timestamp=AT, low=0, job="digits", sample_id="sample-1", x=TENSOR, edge=EDGE, reason="hard",
        rank=0.7, model="sha256:ab",
    )  # fmt: skip
    assert node.due() == []


def test_without_a_link_the_answer_is_there_at_once_and_the_sample_waits() -> None:
    node = Node()
    assert [node.observe(i).provisional for i in range(3)] == [True] * 3
    assert node.due() == []
    node.core.connected()
    assert [sample.sample_id for sample in node.samples()] == ["sample-0", "sample-1", "sample-2"]


def test_a_sample_whose_data_is_missing_is_final() -> None:
    node = connected()
    seen = Observation(job="digits", sample_id="s", value=EDGE, offload=True, reason="hard")
    assert not node.core.observe(seen, None, 0.0, AT).provisional
    assert node.core.counters["digits"].unsent == 1


def test_the_counters_are_exact() -> None:
    node = connected()
    for number in range(10):
        node.observe(number, offload=number < 3)
    node.settle(node.answer(0), node.answer(1, value=None, error="too dark"))
    figures = node.core.counters["digits"].told()["counters"]
    assert figures == {
        "all": 10.0,
        "hard": 3.0,
        "unsent": 0.0,
        "skipped": 0.0,
        "refused": 0.0,
        "answered": 1.0,
        "failed": 1.0,
        "bad_readings": 0.0,
        "source_stops": 0.0,
        "audits": 0.0,
        "bytes_sent": 12.0,
        "low_trust": 0.0,
        "reason.hard": 3.0,
        "reason.easy": 7.0,
    }


def test_the_clouds_answer_becomes_a_final_prediction_then_a_receipt() -> None:
    node = connected()
    taken = node.answer(0, model="big")
    assert taken is not None
    assert taken.final is not None
    assert (taken.final.sample_id, taken.final.value, taken.final.origin, taken.final.provisional) == (
        *("sample-0", CLOUD),
        *("cloud", False),
    )
    assert node.books() == {}
    (receipt,) = node.settle(taken)
    assert (receipt.done, receipt.refused, receipt.credit) == (("h.0",), (), 64)
    assert node.books() == {"stored": 1}


def test_an_answer_comes_to_the_apps_once_however_often_it_is_sent() -> None:
    node = connected()
    node.settle(node.answer(0))
    again = node.answer(0)
    assert again is not None
    assert (again.verdict, again.final) == (Verdict.SEEN, None)
    assert node.settle(again)[0].done == ("h.0",)
    first, second = node.answer(1), node.answer(1)
    assert node.settle(first, second)[0].done == ("h.1", "h.1")
    assert (node.books(), node.core.counters["digits"].answered) == ({"stored": 2}, 2)


def test_an_answer_that_was_not_settled_is_delivered_again_after_a_restart() -> None:
    node = connected()
    assert node.answer(0) is not None
    after = Node(node.store, stream="n2")
    taken = after.answer(0)
    assert taken is not None
    assert taken.final is not None
    after.settle(taken)
    final = Node(node.store, stream="n3").answer(0)
    assert final is not None
    assert final.final is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"value": EDGE}, "id was used before with other content"),
        ({"event_id": "h.9999"}, "id lies too far above the oldest without a receipt"),
    ],
)
def test_an_impossible_answer_is_refused_and_not_delivered(changes: dict[str, Any], reason: str) -> None:
    node = connected()
    node.settle(node.answer(0))
    taken = node.answer(0, **changes)
    assert taken is not None
    assert taken.final is None
    (receipt,) = node.settle(taken)
    assert (receipt.done, [refusal.reason for refusal in receipt.refused]) == ((), [reason])
    assert node.books() == {"stored": 1, "quarantined": 1}
    assert [item.reason for item in node.store.quarantined] == [f"refused: {reason}"]


@pytest.mark.parametrize(
    ("path", "payload", "reason"),
    [
        ("down/answer", b"", "empty payload"),
        ("down/answer", b"\x00" * 5000, "first byte 0x00: neither a MessagePack map nor JSON"),
        ("down/answer", b"\x80", "Object missing required field `event_id`"),
        ("down/receipt", b"{}", "Object missing required field `event_id`"),
        ("down/round", b"\x80", "a channel that this version does not take"),
        ("down/unheard-of", b"\x80", "a channel that this version does not take"),
        ("up/sample", b"\x80", "a channel that this version does not take"),
        (
            "down/answer",
            encode(Answer(event_id="no id", timestamp=AT, job="digits", sample_id="s", value=None)),
            "event_id 'no id': not stream.seq",
        ),
        (
            "down/answer",
            encode(Answer(event_id="h.1", timestamp=AT, job="digits", sample_id="s", value=Scalar(scalar=math.nan))),
            "value holds NaN or infinity",
        ),
    ],
)
def test_bad_bytes_from_the_hub_are_quarantined(path: str, payload: bytes, reason: str) -> None:
    node = connected()
    assert node.core.take(path, payload, 0.0, AT) is None
    (kept,) = node.store.quarantined
    assert (kept.topic, kept.reason, kept.size, kept.head) == (path, reason, len(payload), payload[:1024])
    assert node.books() == {"quarantined": 1}
    assert node.observe().provisional


def test_receipts_settle_refuse_and_defer() -> None:
    node = connected(pace=Pace(park_s=30.0))
    for number in range(3):
        node.observe(number)
    assert len(node.samples()) == 3
    refused = (Refusal(event_id="n.1", reason="x has nan at index 3"),)
    node.receive("n.0", refused=refused, later=(Deferral(event_id="n.2", retry_s=300.0),))
    assert [reason for _, reason in node.store.dead_letters] == ["x has nan at index 3"]
    assert node.books() == {"created": 3, "done": 1, "refused": 1}
    assert node.samples(299.0) == []
    node.core.beat(300.0, AT, LINK)
    assert [(sample.event_id, sample.sample_id) for sample in node.samples(300.0)] == [("n.4", "sample-2")]


def test_a_restart_keeps_the_ids_that_were_given() -> None:
    node = connected()
    node.observe(1)
    first = node.samples()
    after = Node(node.store, stream="n2")
    after.core.connected()
    after.observe(2)
    assert [sample.event_id for sample in after.samples()] == ["n.0", "n2.0"]
    assert after.core.sender.streams == ("n", "n2")
    assert first[0].sample_id == "sample-1"


def test_the_same_sample_is_sent_once() -> None:
    node = Node()
    assert node.observe(1).provisional
    assert node.observe(1).provisional
    node.core.connected()
    assert len(node.samples()) == 1


def test_sessions_only_grow_whatever_the_clock_says() -> None:
    node = Node()
    assert node.core.new_session(AT) == AT
    assert node.core.new_session(AT) == AT + 1
    after = Node(node.store)
    assert after.core.new_session(5) == AT + 2


def test_the_status_says_what_waits_and_what_runs() -> None:
    node = Node(version="0.1.0", beat_s=15.0)
    node.core.new_session(AT)
    node.core.releases["digits"] = "sha256:ab"
    node.observe(1)
    node.observe(2, audit=True)
    post = node.core.status("online", AT, LINK)
    status = decode(NodeStatus, post.payload)
    assert (post.path, post.retain) == ("up/status", True)
    assert (status.state, status.session, status.beat_s, status.version) == ("online", AT, 15.0, "0.1.0")
    assert (status.backlog_rows, status.streams, status.releases, status.link) == (2, (), {"digits": "sha256:ab"}, LINK)
    assert status.backlog_bytes > 8
    node.core.connected()
    node.due()
    assert decode(NodeStatus, node.core.status("offline", AT, LINK).payload).streams == ("n",)


def test_a_beat_reports_the_counters_and_the_latest_report_supersedes() -> None:
    node = Node()
    node.observe(1, offload=False)
    node.core.beat(30.0, AT, LINK)
    node.observe(2, offload=False)
    node.core.beat(60.0, AT, LINK)
    node.core.connected()
    (report,) = [decode(Report, post.payload) for post in node.due(60.0) if post.path == "up/report"]
    assert (report.job, report.counters["all"]) == ("digits", 2.0)
    assert node.books() == {"created": 2, "dropped": 1}


def test_a_beat_drops_what_is_too_old() -> None:
    node = Node(caps={Kind.SAMPLE: Caps(age_s=100.0)})
    node.observe(1)
    node.core.beat(99.0, AT, LINK)
    assert node.store.totals(Kind.SAMPLE).rows == 1
    node.core.beat(101.0, AT, LINK)
    assert node.store.totals(Kind.SAMPLE).rows == 0


def test_on_a_full_disk_the_edges_answer_is_final_and_the_loss_is_counted_later() -> None:
    node = connected()
    node.store.full = True
    prediction = node.observe(1)
    assert (prediction.provisional, prediction.value) == (False, EDGE)
    assert (node.due(), node.books()) == ([], {})
    node.store.full = False
    assert node.samples(2.0) == []
    assert node.books() == {"created": 1, "dropped": 1}
    assert [e.reason for e in node.store.ledger() if e.outcome is Outcome.DROPPED] == ["disk full"]
    assert (node.core.counters["digits"].hard, node.core.counters["digits"].unsent) == (0, 1)


def test_on_a_full_disk_the_node_lives_on_and_asks_once_a_second() -> None:
    node = connected()
    node.observe(1)
    node.store.full = True
    assert node.settle(node.answer(0)) == []
    node.receive("n.0")
    assert node.core.take("down/answer", b"", 0.0, AT) is None
    node.core.beat(1.0, AT, LINK)
    assert node.core.new_session(AT) == AT
    node.observe(2)
    node.due(10.0)
    assert node.due(10.5) == []
    assert not node.core.sender.has_work(10.5)
    node.store.full = False
    assert [sample.event_id for sample in node.samples(15.0)] == ["n.0"]
    node.receive("n.0")
    assert node.settle(node.answer(0))[0].done == ("h.0",)
    assert node.core.new_session(AT) == AT + 1


def test_a_sample_whose_answer_met_a_full_disk_is_still_sent_again() -> None:
    """The answer would have settled it; that was undone, so its receipt is owed as before."""
    node = connected()
    node.observe(0)
    node.due()
    node.store.full = True
    assert node.settle(node.answer(0)) == []
    node.store.full = False
    assert node.core.sender.in_flight == 1
    assert [sample.event_id for sample in node.samples(30.0)] == ["n.0"]


def test_caps_hold_and_the_worst_goes() -> None:
    node = Node(caps={Kind.SAMPLE: Caps(rows=2)})
    for number, rank in enumerate([0.9, 0.1, 0.5]):
        node.observe(number, rank=rank)
    node.core.connected()
    assert {sample.rank for sample in node.samples()} == {0.9, 0.5}
    assert node.books() == {"created": 3, "dropped": 1}


def test_the_app_is_told_when_no_answer_will_come() -> None:
    node = connected(caps={Kind.SAMPLE: Caps(rows=2)}, pace=Pace(window=1))
    assert node.observe(1).provisional
    assert node.observe(2, rank=0.5).provisional
    assert not node.observe(3, rank=0.1).provisional, "the least worth is dropped at once, so its answer is final"
    assert not node.observe(4, rank=math.nan).provisional
    assert node.core.take_ended() == []
    assert node.observe(5, rank=0.9).provisional
    (dropped,) = node.core.take_ended()
    assert (dropped.sample_id, dropped.value, dropped.reason) == ("sample-2", None, "no answer: rows")
    node.due()
    node.receive(refused=(Refusal(event_id="n.0", reason="x.dtype is float64"),))
    (refused,) = node.core.take_ended()
    assert (refused.sample_id, refused.reason) == ("sample-1", "no answer: x.dtype is float64")


@pytest.mark.parametrize("form", Format)
def test_everything_is_written_in_the_configured_form(form: Format) -> None:
    node = connected(form=form)
    node.observe(1)
    posts = [*node.due(), node.core.beat(1.0, AT, LINK), *node.core.settle([], 1.0, AT)]
    assert {post.payload[:1] == b"{" for post in posts} == {form is Format.JSON}


STEPS = ("observe", "due", "receipt", "link", "full", "room", "restart", "beat")


class Life:
    """A node's life, step by step, with a hub that stores all that it is sent."""

    def __init__(self) -> None:
        self.node = Node(pace=Pace(window=4))
        self.promised: set[str] = set()
        self.stored: set[str] = set()

    def live(self, step: str, number: int) -> None:
        node = self.node
        node.now += 3.0
        match step:
            case "observe" if node.observe(number).provisional:
                self.promised.add(f"sample-{number}")
            case "due":
                self.exchange(lost=True)
            case "receipt":
                self.exchange()
            case "link":
                node.core.disconnected()
                node.core.connected()
            case "full" | "room":
                node.store.full = step == "full"
            case "restart":
                self.node = Node(node.store, stream=f"n{number}", pace=Pace(window=4))
                self.node.now = node.now
            case "beat":
                node.core.beat(node.now, AT, LINK)

    def exchange(self, *, lost: bool = False) -> None:
        sent = self.node.due()
        samples = [decode(HardSample, post.payload) for post in sent if post.path == "up/sample"]
        self.stored |= {sample.sample_id for sample in samples}
        if not lost:
            self.node.receive(*(decode(Envelope, post.payload).event_id for post in sent))

    def end_well(self) -> None:
        self.node.store.full = False
        self.node.core.connected()
        for _ in range(30):
            self.node.now += 100.0
            self.node.core.sender.wake()
            self.exchange()


@given(st.lists(st.sampled_from(STEPS), max_size=50))
@settings(max_examples=150)
def test_whatever_breaks_a_promise_is_kept_and_the_books_close(steps: list[str]) -> None:
    life = Life()
    for number, step in enumerate(steps):
        life.live(step, number)
    life.end_well()
    assert life.promised <= life.stored
    books = close(life.node.store.ledger(), {}, "up/sample", waiting=0, node="cam-1", at_hub=True)
    assert (books.unbalanced, books.done) == (0, len(life.promised))


def test_an_answer_that_a_full_disk_did_not_settle_comes_to_the_apps_once() -> None:
    node = connected()
    node.store.full = True
    assert node.settle(node.answer(0)) == []
    node.store.full = False
    again = node.answer(0)
    assert again is not None
    assert again.final is None
    assert node.settle(again)[0].done == ("h.0",)
    assert node.books() == {"stored": 1}
    assert node.core.counters["digits"].answered == 1


def test_nothing_is_published_whose_commit_failed() -> None:
    node = Node()
    node.observe(1)
    node.core.connected()
    node.store.full = True
    assert node.due() == []
    assert node.core.sender.in_flight == 0
    node.store.full = False
    assert [sample.sample_id for sample in node.samples(2.0)] == ["sample-1"]
