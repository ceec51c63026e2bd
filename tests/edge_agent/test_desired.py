"""What a node makes of what its hub wants it to run: believed, stored, used, and never an older one again."""

from random import Random
from typing import Any

import pytest

from edge_agent.core.exchange import NodeOptions
from edge_agent.core.node import NodeCore
from messages.codec import decode, encode
from messages.delivery.rows import Outcome
from messages.shapes import MAX_DOCUMENTS, MAX_STATE, Desired, Link, NodeStatus, Receipt, Signature
from messages.signing import Signer
from tests.support.messages import SIGNER
from tests.support.nodes import AT, FullStore
from tests.support.wishes import Adopts, desired, digest, policy, state

STRANGER = Signer(bytes(32))
ONE, TWO = policy(1), policy(2)


class Node:
    """A node's core that trusts the hub's key and runs two jobs; the second has a fixed rule."""

    def __init__(self, store: FullStore | None = None, *, keys: tuple[Signer, ...] = (SIGNER,)) -> None:
        self.store = store or FullStore()
        options = NodeOptions(node="cam-1", keys=tuple(signer.public for signer in keys))
        self.core = NodeCore(self.store, options, stream="n", random=Random(1))
        self.jobs = {"digits": Adopts(), "letters": Adopts(rule="threshold")}
        self.core.desired.start(self.jobs)
        self.core.connected()

    def take(self, message: Desired | bytes) -> Receipt:
        payload = message if isinstance(message, bytes) else encode(message)
        assert self.core.take("down/desired", payload, 0.0, AT) is None
        (post,) = self.core.due(0.0, AT)
        return decode(Receipt, post.payload)

    def refusal(self, message: Desired | bytes) -> str:
        (refused,) = self.take(message).refused
        return refused.reason

    @property
    def status(self) -> NodeStatus:
        return decode(NodeStatus, self.core.status("online", AT, Link()).payload)

    @property
    def versions(self) -> list[int]:
        return self.jobs["digits"].versions


def wish(seq: int, document: bytes = ONE, **fields: Any) -> Desired:
    return desired(state(seq, document), document, number=seq, **fields)


def test_what_the_hub_wants_is_used_and_reported() -> None:
    node = Node()
    assert (node.status.desired, node.status.policies) == ((0, 0), {"digits": ""})
    assert node.take(wish(1)).done == ("h.1",)
    assert node.versions == [1]
    assert node.core.desired.take_news()
    status = node.status
    assert (status.desired, status.refusal, status.policies) == ((1, 1), "", {"digits": digest(ONE)})


def test_it_survives_a_restart_without_a_link() -> None:
    first = Node()
    first.take(wish(7))
    again = Node(first.store)
    assert (again.versions, again.status.desired) == ([1], (1, 7))
    assert again.status.policies == {"digits": digest(ONE)}


def test_redelivery_changes_nothing() -> None:
    node = Node()
    for number in (1, 1, 2):
        assert node.take(wish(1, event_id=f"h.{number}")).done == (f"h.{number}",)
    assert node.versions == [1]
    assert node.core.desired.take_news()
    assert not node.core.desired.take_news()
    books = {entry.outcome: number for entry, number in node.store.ledger().items()}
    assert books == {Outcome.STORED: 1, Outcome.KNOWN: 2}


def test_a_rollback_is_a_higher_place_with_the_old_document() -> None:
    node = Node()
    for seq, document in ((1, ONE), (2, TWO), (3, ONE)):
        assert node.take(wish(seq, document)).done
    assert node.versions == [1, 2, 1]
    assert node.take(desired(state(1, TWO, epoch=2), TWO)).done
    assert (node.versions, node.status.desired) == ([1, 2, 1, 2], (2, 1))


LONG = state(2, ONE, names=("policy/" + "x" * MAX_STATE,))
FOREIGN = state(2, ONE, node="cam-2")
BAD = [
    ("endless bytes", encode(wish(2, timestamp=AT, documents={"x": bytes(300_000)})), "bytes: at most 200000"),
    ("a large state", desired(LONG, ONE), f"at most {MAX_STATE} and {MAX_DOCUMENTS}"),
    ("large documents", wish(2, documents={"x": bytes(MAX_DOCUMENTS + 1)}), f"at most {MAX_STATE} and {MAX_DOCUMENTS}"),
    ("garbage", b'{"event_id": "h.2", "timestamp": 1, "state": 5}', "Expected `bytes`, got `int` - at `$.state`"),
    ("an id that is none", wish(2, event_id="none"), "event_id 'none': not stream.seq"),
    ("many signatures", wish(2, signatures=(SIGNER.sign(b""),) * 9), "Expected `array` of length <= 8"),
    ("no signature", wish(2, signatures=()), "signed by key none, which is not trusted here"),
    ("an unknown key", wish(2, signer=STRANGER), f"signed by key {STRANGER.public.id}, which is not trusted here"),
    ("a stranger's garbage", desired(b"garbage", signer=STRANGER), "which is not trusted here"),
    (
        "a wrong signature",
        wish(2, signatures=(Signature(key=SIGNER.public.id, signature=bytes(64)),)),
        f"the signature of key {SIGNER.public.id} is wrong",
    ),
    ("a state that was changed", wish(2, state=state(9, ONE)), "is wrong"),
    ("signed garbage", desired(b"\xc1"), "first byte 0xc1: neither a MessagePack map nor JSON"),
    ("a signed state without its node", desired(b"\x80"), "field `node`"),
    ("another node's state", desired(FOREIGN, ONE), "it is meant for node 'cam-2'"),
    ("an old place", desired(state(0, ONE), ONE), "stale: seq 0 of epoch 1 is older than seq 1 of epoch 1"),
    ("an old epoch", desired(state(9, ONE, epoch=0), ONE), "stale: seq 9 of epoch 0 is older than seq 1 of epoch 1"),
    ("a place with another content", desired(state(1, TWO), TWO), "stale: seq 1 of epoch 1 had another content before"),
    ("no document", desired(state(2, TWO)), "policy/digits: its document did not come along"),
    (
        "a document that was changed",
        wish(2, TWO, documents={digest(TWO): TWO + b"\x00"}),
        "policy/digits: its document is another than its digest says",
    ),
]


@pytest.mark.parametrize(("message", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_is_not_believed_changes_nothing(message: Desired | bytes, reason: str) -> None:
    node = Node()
    node.take(wish(1))
    assert reason in node.refusal(message)
    assert (node.versions, node.status.desired) == ([1], (1, 1))
    assert node.status.policies == {"digits": digest(ONE)}
    assert reason in node.store.quarantined[-1].reason
    assert node.status.refusal == ("" if reason.startswith("stale") else node.refusal(message))
    assert Node(node.store).versions == [1]
    assert node.take(wish(2, TWO)).done
    assert (node.versions, node.status.refusal) == ([1, 2], "")


GARBLED = desired(b"\xc1", signer=STRANGER, documents={"x": bytes(MAX_DOCUMENTS + 1)})
ORDER = [
    (GARBLED, f"at most {MAX_STATE}"),
    (desired(b"\xc1", signer=STRANGER), "not trusted"),
    (desired(b"\xc1"), "first byte"),
    (desired(state(0, TWO, node="cam-2")), "meant for node"),
    (desired(state(0, TWO)), "stale"),
    (desired(state(2, b"garbage")), "did not come along"),
    (desired(state(2, b"garbage"), b"garbage"), "partly: policy/digits: first byte"),
]


def test_of_many_faults_the_first_in_order_is_named() -> None:
    node = Node()
    node.take(wish(1))
    for message, reason in ORDER:
        assert reason in node.refusal(message)


DOCUMENTS = [
    (policy(2, "faces"), ("policy/faces",), "policy/faces: this node has no such job"),
    (policy(2), ("release/digits",), "release/digits: this version does not know what it is"),
    (policy(2, "letters"), ("policy/digits",), "policy/digits: it is for job 'letters'"),
    (policy(2, "letters"), ("policy/letters",), "policy/letters: its policy is 'threshold'"),
    (policy(2, model="m" * 20_000), ("policy/digits",), "at most 16384"),
    (b'{"job": "digits"}', ("policy/digits",), "Object missing required field `version`"),
    (b'{"job": "digits", "version": 1, "score": {"type": "oracle"}}', ("policy/digits",), "Invalid value 'oracle'"),
]


@pytest.mark.parametrize(("document", "names", "reason"), DOCUMENTS)
def test_a_document_that_cannot_be_used_is_refused_and_the_others_are_used(
    document: bytes, names: tuple[str, ...], reason: str
) -> None:
    node = Node()
    node.take(wish(1))
    bad = desired(state(2, document, names=names), document)
    refusal = node.refusal(bad)
    assert refusal.startswith("partly: ")
    assert reason in refusal
    assert node.refusal(bad) == node.status.refusal == refusal
    assert (node.versions, node.status.desired) == ([1], (1, 2))
    both = {"policy/digits": TWO, "policy/letters": policy(1, "letters")}
    mixed = state(3, *both.values(), names=tuple(both))
    assert node.refusal(desired(mixed, *both.values())) == "partly: policy/letters: its policy is 'threshold'"
    assert node.versions == [1, 2]
    assert Node(node.store).versions == [2]


def test_what_does_not_fit_after_a_restart_is_kept_and_reported() -> None:
    first = Node()
    first.take(wish(1))
    store = first.store
    other = NodeCore(store, NodeOptions(node="cam-1", keys=(SIGNER.public,)), stream="m", random=Random(1))
    other.desired.start({"digits": Adopts(rule="threshold")})
    told = other.desired.told()
    refusal = "partly: policy/digits: its policy is 'threshold'"
    assert told == {"desired": (1, 1), "refusal": refusal, "policies": {}, "key_epoch": None}
    assert Node(store).versions == [1]


def test_a_full_disk_asks_for_it_again() -> None:
    node = Node()
    node.store.full = True
    (later,) = node.take(wish(1)).later
    assert (later.event_id, later.reason, node.versions) == ("h.1", "disk full", [])
    node.store.full = False
    assert node.take(wish(1)).done
    assert node.versions == [1]


def test_bytes_without_an_id_are_nobodys() -> None:
    node = Node()
    assert node.core.take("down/desired", b"\x80", 0.0, AT) is None
    assert node.core.due(0.0, AT) == []
    assert [item.topic for item in node.store.quarantined] == ["down/desired"]


def test_without_a_trusted_key_nothing_is_believed() -> None:
    node = Node(keys=())
    assert "no key is trusted here" in node.refusal(wish(1))
    assert (node.versions, node.status.desired) == ([], (0, 0))


def test_a_flood_of_the_same_rubbish_is_no_news() -> None:
    node = Node()
    bad = wish(1, signer=STRANGER)
    node.take(bad)
    assert node.core.desired.take_news()
    node.take(bad)
    assert not node.core.desired.take_news()
