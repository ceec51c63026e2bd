"""Whom a node believes when it trusts a root: the newest key list's keys, and after a rotation the old ones no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from msgspec import msgpack

from edge_agent.core.exchange import NodeOptions
from edge_agent.core.node import NodeCore
from messages.codec import decode, encode
from messages.shapes import Desired, Link, NodeStatus, Receipt, Signature
from messages.signing import DOMAIN, MAX_KEY_LIST, KeyList, Signer
from tests.support.messages import AT, SIGNER
from tests.support.nodes import FullStore
from tests.support.wishes import ROOT, Adopts, desired, key_list, policy, signed_list, state

LAST = 2**53 - 1
NEXT, STRANGER, OTHER_ROOT = (Signer(bytes([number]) * 32) for number in (1, 2, 3))
ONE, TWO, EVIL = policy(1), policy(2), policy(666)


class Kept(FullStore):
    """Notes the documents that are written, and those that do not survive a power cut."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.unsafe: list[str] = []
        self._safe = False

    def keep(self, name: str, body: bytes) -> None:
        super().keep(name, body)
        (self.written if self._safe else self.unsafe).append(name)

    @contextmanager
    def synced(self) -> Iterator[None]:
        with super().synced():
            self._safe = True
            yield
        self._safe = False


class Node:
    """A node's core that trusts a root (or, without one, the hub's key) and runs the job digits."""

    def __init__(self, store: Kept | None = None, *, roots: tuple[Signer, ...] = (ROOT,)) -> None:
        self.store = store or Kept()
        keys = () if roots else (SIGNER.public,)
        options = NodeOptions(node="cam-1", keys=keys, roots=tuple(root.public for root in roots))
        self.core = NodeCore(self.store, options, stream="n", random=Random(1))
        self.job = Adopts()
        self.core.desired.start({"digits": self.job})
        self.core.connected()

    def take(self, message: Desired | bytes) -> str:
        """Why a message was refused; empty when it was not."""
        payload = message if isinstance(message, bytes) else encode(message)
        assert self.core.take("down/desired", payload, 0.0, AT) is None
        (post,) = self.core.due(0.0, AT)
        receipt = decode(Receipt, post.payload)
        assert len(receipt.done) + len(receipt.refused) + len(receipt.later) == 1
        return receipt.refused[0].reason if receipt.refused else ""

    @property
    def status(self) -> NodeStatus:
        return decode(NodeStatus, self.core.status("online", AT, Link()).payload)

    @property
    def stands(self) -> tuple[int | None, tuple[int, int], list[int]]:
        """Its key list's epoch, the place of its state, and the policies that it has used."""
        return self.status.key_epoch, self.status.desired, self.job.versions


def wish(
    place: tuple[int, int], document: bytes = ONE, keys: dict[str, Any] | None = None, *, by: Signer = SIGNER
) -> Desired:
    """A state at a place, with a key list or without."""
    epoch, seq = place
    return desired(state(seq, document, epoch=epoch), document, signer=by, number=seq, **(keys or {}))


def listed(store: Kept | None = None) -> Node:
    """A node with the key list of epoch 2, which runs the first policy."""
    node = Node(store)
    assert node.take(wish((2, 1), ONE, key_list(2))) == ""
    return node


def test_a_root_says_whose_states_count() -> None:
    node = Node()
    assert node.stands == (0, (0, 0), [])
    assert "no key list of the root has come yet" in node.take(wish((1, 1)))
    assert node.take(wish((1, 1), ONE, key_list(1))) == ""
    assert node.stands == (1, (1, 1), [1])
    assert node.take(wish((1, 2), TWO)) == ""
    assert node.stands == (1, (1, 2), [1, 2])


def test_a_rotation_replaces_the_keys_at_once_and_for_ever() -> None:
    node = listed()
    assert node.take(wish((3, 1), TWO, key_list(3, NEXT), by=NEXT)) == ""
    assert node.stands == (3, (3, 1), [1, 2])
    for attempt in (wish((3, 2), EVIL), wish((3, 2), EVIL, key_list(2)), wish((2, 9), EVIL, key_list(2))):
        assert node.take(attempt) != ""
    assert node.stands == (3, (3, 1), [1, 2])
    again = Node(node.store)
    assert again.stands == (3, (3, 1), [2])
    assert "not trusted" in again.take(wish((3, 2), EVIL))
    assert again.take(wish((3, 2), ONE, by=NEXT)) == ""


def test_a_key_list_counts_even_when_the_state_beside_it_does_not() -> None:
    node = listed()
    assert "not trusted" in node.take(wish((3, 1), EVIL, key_list(3, NEXT)))
    assert node.core.desired.take_news()
    assert node.stands == (3, (2, 1), [1])
    assert node.take(wish((3, 1), TWO, by=NEXT)) == ""


def test_a_thief_that_runs_ahead_is_left_behind_by_a_rotation() -> None:
    node = listed()
    assert "does not go with the key list of epoch 2" in node.take(wish((LAST, LAST), EVIL))
    assert "does not go with the key list of epoch 2" in node.take(wish((3, 1), EVIL))
    assert node.take(wish((2, LAST), EVIL)) == ""
    assert node.stands == (2, (2, LAST), [1, 666])
    assert "stale" in node.take(wish((2, 2), TWO))
    assert node.take(wish((3, 1), TWO, key_list(3, NEXT), by=NEXT)) == ""
    assert "not trusted" in node.take(wish((3, LAST), EVIL))
    assert node.stands == (3, (3, 1), [1, 666, 2])


def test_redelivery_writes_nothing_and_installs_nothing() -> None:
    node = listed()
    written = list(node.store.written)
    assert (written, node.store.unsafe) == (["keys", "policy/digits", "desired"], [])
    node.core.desired.take_news()
    for _ in range(3):
        assert node.take(wish((2, 1), ONE, key_list(2))) == ""
    assert (node.store.written, node.stands) == (written, (2, (2, 1), [1]))
    assert not node.core.desired.take_news()


def test_several_keys_may_count_and_several_roots_vouch() -> None:
    node = Node(roots=(OTHER_ROOT, ROOT))
    assert node.take(wish((1, 1), ONE, key_list(1, NEXT, SIGNER))) == ""
    assert node.take(wish((1, 2), TWO, by=NEXT)) == ""
    assert node.take(wish((2, 1), ONE, key_list(2, root=OTHER_ROOT))) == ""
    assert node.stands == (2, (2, 1), [1, 2, 1])


def test_a_node_with_fixed_keys_takes_no_key_list() -> None:
    node = Node(roots=())
    assert node.take(wish((1, 1), ONE, key_list(9, STRANGER))) == ""
    assert node.take(wish((5, 1), TWO, signed_list(b"\xc1", STRANGER))) == ""
    assert node.stands == (None, (5, 1), [1, 2])
    assert "not trusted" in node.take(wish((6, 1), EVIL, key_list(10, STRANGER), by=STRANGER))


def test_another_root_in_the_settings_takes_the_old_ones_list_out_of_use() -> None:
    node = Node(listed().store, roots=(OTHER_ROOT,))
    assert node.stands == (0, (2, 1), [1])
    assert "no key list" in node.take(wish((2, 2), TWO))
    assert node.take(wish((3, 1), TWO, key_list(3, root=OTHER_ROOT))) == ""
    assert Node(node.store, roots=()).status.key_epoch is None


def test_a_full_disk_asks_for_the_key_list_again() -> None:
    node = Node(Kept())
    node.store.full = True
    assert node.take(wish((1, 1), ONE, key_list(1))) == ""
    assert node.stands == (0, (0, 0), [])
    node.store.full = False
    assert node.take(wish((1, 1), ONE, key_list(1))) == ""
    assert node.stands == (1, (1, 1), [1])


def test_no_clock_is_asked() -> None:
    node = Node()
    for epoch, created in ((1, LAST), (2, 0)):
        content = encode(KeyList(namespace="default", epoch=epoch, keys=(str(SIGNER.public),), created=created))
        assert node.take(wish((epoch, 1), ONE, signed_list(content))) == ""
    assert node.status.key_epoch == 2


def raw(**fields: Any) -> dict[str, Any]:
    """A key list whose shape may be wrong, well signed."""
    given = {"namespace": "default", "epoch": 3, "keys": [str(NEXT.public)]}
    return signed_list(msgpack.encode(given | fields))


GOOD = key_list(3, NEXT)
BAD_LISTS = [
    ("an older list", key_list(1), "stale: key list of epoch 1 is older than 2"),
    ("an equal epoch with other keys", key_list(2, STRANGER), "key list: epoch 2 had another content before"),
    ("another hub's list", key_list(3, NEXT, root=OTHER_ROOT), f"key list: signed by key {OTHER_ROOT.public.id}"),
    ("another namespace's list", key_list(3, NEXT, namespace="b"), "key list: it is meant for namespace 'b'"),
    ("signed by the release key", key_list(3, NEXT, root=SIGNER), f"key list: signed by key {SIGNER.public.id}"),
    ("unsigned", GOOD | {"key_signatures": ()}, "key list: signed by key none, which is not trusted"),
    (
        "signed as a state",
        GOOD | {"key_signatures": (ROOT.sign(GOOD["key_list"], DOMAIN),)},
        f"key list: the signature of key {ROOT.public.id} is wrong",
    ),
    (
        "a foreign signature under the root's name",
        GOOD | {"key_signatures": (Signature(key=ROOT.public.id, signature=bytes(64)),)},
        "is wrong",
    ),
    ("truncated", GOOD | {"key_list": GOOD["key_list"][:-1]}, "is wrong"),
    ("one bit more", GOOD | {"key_list": GOOD["key_list"] + b"\x00"}, "is wrong"),
    ("random bytes", signed_list(Random(1).randbytes(200), STRANGER), "not trusted"),
    ("signed random bytes", signed_list(b"\xc1" * 200), "key list: first byte 0xc1"),
    ("endless bytes", signed_list(bytes(MAX_KEY_LIST + 1)), f"at most {MAX_KEY_LIST}"),
    ("too many signatures", GOOD | {"key_signatures": GOOD["key_signatures"] * 9}, "length <= 8"),
    ("epoch 0", raw(epoch=0), "key list: Expected `int` >= 1 - at `$.epoch`"),
    ("a negative epoch", raw(epoch=-1), "key list: Expected `int` >= 1"),
    ("a huge epoch", raw(epoch=2**64 - 1), "key list: Expected `int` <= 9007199254740991"),
    ("no key", raw(keys=[]), "key list: Expected `array` of length >= 1"),
    ("nine keys", raw(keys=[str(NEXT.public)] * 9), "key list: Expected `array` of length <= 8"),
    ("1000 keys", raw(keys=[str(NEXT.public)] * 1000), f"at most {MAX_KEY_LIST}"),
    ("a key that is none", raw(keys=["ed25519:AA"]), "key list: keys[0] = 'ed25519:AA'"),
    ("a state as key list", signed_list(state(1, ONE)), "key list: Object missing required field `namespace`"),
]


@pytest.mark.parametrize(("fields", "reason"), [case[1:] for case in BAD_LISTS], ids=[case[0] for case in BAD_LISTS])
def test_a_bad_key_list_changes_nothing_whatever_lies_beside_it(fields: dict[str, Any], reason: str) -> None:
    node = listed()
    written = list(node.store.written)
    for signer in (SIGNER, NEXT):
        assert reason in node.take(wish((2, 2), EVIL, fields, by=signer))
    assert (node.stands, node.store.written) == ((2, (2, 1), [1]), written)
    assert reason in node.store.quarantined[-1].reason
    assert Node(node.store).status.key_epoch == 2
    assert node.take(wish((3, 1), TWO, GOOD, by=NEXT)) == ""


FOREIGN = desired(state(9, EVIL, epoch=2, node="cam-2"), EVIL)
BAD_STATES = [
    ("signed by the root", wish((2, 2), EVIL, by=ROOT), f"signed by key {ROOT.public.id}, which is not trusted"),
    ("an unknown key", wish((2, 2), EVIL, by=STRANGER), "not trusted"),
    ("an older epoch", wish((1, 9), EVIL), "stale: a state of epoch 1 does not go with the key list of epoch 2"),
    ("a later epoch", wish((3, 1), EVIL), "stale: a state of epoch 3 does not go with the key list of epoch 2"),
    ("a rollback", wish((2, 0), EVIL), "stale: seq 0 of epoch 2 is older"),
    ("an equal place with other content", wish((2, 1), EVIL), "stale: seq 1 of epoch 2 had another content"),
    ("another node's", FOREIGN, "meant for node 'cam-2'"),
    ("signed as a key list", desired(state(2, EVIL, epoch=2), EVIL, signatures=(
        SIGNER.sign(state(2, EVIL, epoch=2), b"skerry/keys/1\0"),)), "is wrong"),
    ("another state's documents", desired(state(2, TWO, epoch=2), EVIL), "its document did not come along"),
    ("another state's signature", wish((2, 2), EVIL, {"signatures": wish((2, 3), TWO).signatures}), "is wrong"),
    ("endless bytes", encode(wish((2, 2), EVIL, {"key_list": bytes(300_000)})), "bytes: at most 200000"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "reason"), [case[1:] for case in BAD_STATES], ids=[case[0] for case in BAD_STATES])
def test_a_bad_state_changes_nothing_where_a_root_is_trusted(message: Desired | bytes, reason: str) -> None:
    node = listed()
    written = list(node.store.written)
    assert reason in node.take(message)
    assert (node.stands, node.store.written) == ((2, (2, 1), [1]), written)
    assert node.take(wish((2, 2), TWO)) == ""


ORDER = [
    (wish((9, 0), EVIL, signed_list(bytes(MAX_KEY_LIST + 1), STRANGER), by=STRANGER), f"at most {MAX_KEY_LIST}"),
    (wish((9, 0), EVIL, signed_list(b"\xc1", STRANGER), by=STRANGER), "key list: signed by"),
    (wish((9, 0), EVIL, signed_list(b"\xc1"), by=STRANGER), "key list: first byte"),
    (wish((9, 0), EVIL, key_list(1, namespace="b"), by=STRANGER), "key list: it is meant for"),
    (wish((9, 0), EVIL, key_list(1), by=STRANGER), "stale: key list"),
    (desired(b"\xc1", signer=STRANGER), "not trusted"),
    (desired(b"\xc1"), "first byte"),
    (desired(state(0, EVIL, node="cam-2", epoch=9)), "meant for node"),
    (desired(state(0, EVIL, epoch=9)), "stale: a state of epoch 9"),
    (desired(state(0, EVIL, epoch=2)), "stale: seq 0"),
]


def test_of_many_faults_the_first_in_order_is_named() -> None:
    node = listed()
    for message, reason in ORDER:
        assert reason in node.take(message)
