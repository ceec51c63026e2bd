"""What the hub sends its nodes to run: only what differs, once, and always above what the node has had."""

from typing import Any

import pytest

from cloud_hub.ingest.desired import wanted
from cloud_hub.ingest.exchange import Output, SigningKeys
from messages.codec import decode, encode
from messages.delivery.sender import Pace
from messages.shapes import MAX_DOCUMENTS, PARTLY, STALE, Desired, DesiredState, Receipt, Refusal
from messages.signing import problem
from tests.support.messages import SIGNER
from tests.support.nodes import AT, Hub, HubStore, status, topic
from tests.support.wishes import digest, policy

ONE, TWO = policy(1), policy(2)
PACE = Pace(first_s=5.0)


class Desk:
    """A hub whose key the node trusts, and a node that runs the job digits."""

    def __init__(self, store: HubStore | None = None, stream: str = "h") -> None:
        self.hub = Hub(store, stream=stream, keys=lambda: SigningKeys(sign=SIGNER.sign), pace=PACE)

    def want(self, document: bytes, node: str | None = None, job: str = "digits") -> list[Desired]:
        return sent(self.hub.core.desire(job, node, document, self.hub.now, AT))

    def beat(self, node: str = "cam-1", **fields: Any) -> list[Desired]:
        """The node's heartbeat; what the hub sends upon it."""
        fields = {"releases": {"digits": "m1"}, "policies": {"digits": ""}} | fields
        return sent(self.hub.receive(encode(status(**fields)), topic("up/status", node)))

    def receipt(self, desired: Desired, refused: str = "") -> Output:
        """The node's receipt."""
        ids: dict[str, Any] = {"done": (desired.event_id,)}
        if refused:
            ids = {"refused": (Refusal(event_id=desired.event_id, reason=refused),)}
        return self.hub.receive(encode(Receipt(event_id="r", timestamp=AT, credit=64, **ids)), topic("up/receipt"))


def sent(out: Output) -> list[Desired]:
    return [decode(Desired, post.payload) for post in out.posts if post.path == "down/desired"]


def place(desired: Desired) -> tuple[int, int]:
    state = decode(DesiredState, desired.state)
    return state.epoch, state.seq


def test_a_node_gets_what_it_should_run_signed_for_it_alone() -> None:
    desk = Desk()
    desk.want(ONE)
    (desired,) = desk.beat()
    assert problem(desired.state, desired.signatures, {SIGNER.public.id: SIGNER.public}) == ""
    assert decode(DesiredState, desired.state) == DesiredState(
        node="cam-1", epoch=1, seq=1, digests={"policy/digits": digest(ONE)}
    )
    assert desired.documents == {digest(ONE): ONE}


def test_a_node_that_is_there_gets_it_at_once_and_no_second_time() -> None:
    desk = Desk()
    desk.beat()
    (desired,) = desk.want(ONE)
    assert desk.want(ONE) == desk.beat() == []
    desk.receipt(desired)
    runs: dict[str, Any] = {"desired": (1, 1), "policies": {"digits": digest(ONE)}}
    assert desk.beat(**runs) == desk.want(ONE) == []
    (second,) = desk.want(TWO)
    assert place(second) == (1, 2)


def test_what_is_wanted_of_one_node_is_not_wanted_of_the_others() -> None:
    desk = Desk()
    for node in ("cam-1", "cam-2"):
        desk.beat(node)
    assert len(desk.want(ONE)) == 2
    (own,) = desk.want(TWO, "cam-2")
    assert decode(DesiredState, own.state).node == "cam-2"
    assert [decode(DesiredState, each.state).node for each in desk.want(policy(3))] == ["cam-1"]


def test_what_a_command_sets_reaches_all_nodes_whoever_speaks_first() -> None:
    desk = Desk()
    for node in ("cam-1", "cam-2"):
        desk.beat(node)
    with desk.hub.store.transaction():
        desk.hub.store.save_policy(wanted("digits", "", ONE, AT))
    assert [decode(DesiredState, each.state).node for each in desk.beat("cam-1")] == ["cam-1"]
    assert [decode(DesiredState, each.state).node for each in sent(desk.hub.core.tick(1.0, AT))] == ["cam-2"]
    assert sent(desk.hub.core.tick(2.0, AT)) == []


def test_nothing_is_sent_where_nothing_is_wanted_or_nothing_can_be_signed() -> None:
    desk = Desk()
    desk.want(policy(1, "faces"), job="faces")
    assert desk.beat() == []
    bare = Hub()
    bare.core.desire("digits", None, ONE, 0.0, AT)
    assert sent(bare.receive(encode(status(releases={"digits": "m1"})), topic("up/status"))) == []


def test_a_newer_wish_replaces_one_that_waits() -> None:
    desk = Desk()
    desk.beat()
    desk.hub.core.offline()
    desk.want(ONE)
    desk.want(TWO)
    desk.hub.core.online()
    (only,) = sent(desk.hub.core.tick(1.0, AT))
    assert place(only) == (1, 2)
    assert list(only.documents.values()) == [TWO]


def test_a_restored_hub_goes_on_above_what_the_node_has() -> None:
    desk = Desk()
    desk.want(ONE)
    (above,) = desk.beat(desired=(3, 41))
    assert place(above) == (3, 42)
    beyond = Desk(desk.hub.store, "i").beat(session=2, desired=(3, 2**53 - 1))
    assert sorted(map(place, beyond)) == [(3, 42), (4, 1)]


def test_a_restored_hub_that_wants_what_runs_sends_nothing() -> None:
    desk = Desk()
    desk.want(ONE)
    assert desk.beat(desired=(1, 9), policies={"digits": digest(ONE)}) == []


def test_a_node_that_was_restored_gets_the_same_state_again() -> None:
    desk = Desk()
    desk.want(ONE)
    (first,) = desk.beat()
    desk.receipt(first)
    (again,) = desk.beat(session=2)
    assert (again.state, again.documents) == (first.state, first.documents)


def test_what_was_refused_is_offered_again_only_when_something_changed() -> None:
    desk = Desk()
    desk.want(ONE)
    (first,) = desk.beat()
    out = desk.receipt(first, "signed by key 1234, which is not trusted here")
    assert out.notes == [
        "node cam-1: does not take all that it should run: signed by key 1234, which is not trusted here"
    ]
    no = {"refusal": "signed by key 1234, which is not trusted here"}
    assert desk.beat(**no) == desk.beat(**no) == []
    (after_restart,) = desk.beat(session=2)
    assert after_restart.state == first.state
    desk.receipt(after_restart, "no")
    (another,) = desk.beat(session=3, releases={"digits": "m2"}, **no)
    assert place(another) == (1, 2)
    desk.receipt(another, "no")
    (newer,) = desk.want(TWO)
    assert place(newer) == (1, 3)


def test_what_was_refused_in_part_is_offered_again_when_the_models_changed() -> None:
    desk = Desk()
    desk.want(ONE)
    (first,) = desk.beat()
    desk.receipt(first, f"{PARTLY}policy/digits: it is for model m2")
    there: dict[str, Any] = {"desired": (1, 1), "refusal": f"{PARTLY}policy/digits: it is for model m2"}
    assert desk.beat(**there) == []
    (again,) = desk.beat(session=2, releases={"digits": "m2"}, **there)
    assert place(again) == (1, 2)
    desk.receipt(again, f"{PARTLY}policy/digits: its policy is 'threshold'")
    there["desired"] = (1, 2)
    assert desk.beat(session=3, releases={"digits": "m2"}, **there) == []
    (back,) = desk.beat(session=4, releases={"digits": "m2"}, **there | {"desired": (1, 1)})
    assert back.state == again.state


def test_a_place_that_is_taken_is_left_for_a_higher_one() -> None:
    desk = Desk()
    desk.want(ONE)
    (first,) = desk.beat()
    desk.receipt(first, f"{STALE}seq 1 of epoch 1 had another content before")
    (above,) = desk.beat(desired=(1, 1), policies={"digits": digest(TWO)})
    assert place(above) == (1, 2)


def test_a_receipt_for_an_older_state_says_nothing_of_the_newest() -> None:
    desk = Desk()
    desk.want(ONE)
    (first,) = desk.beat()
    (second,) = desk.want(TWO)
    assert desk.receipt(first, f"{STALE}seq 1 of epoch 1 is older").notes == []
    desk.receipt(second)
    assert desk.beat(desired=(1, 2), policies={"digits": digest(TWO)}) == []


def test_what_does_not_fit_into_one_message_is_said_once() -> None:
    desk = Desk()
    releases = {f"job-{number}": "m" for number in range(8)}
    for job in releases:
        desk.want(policy(1, job, model="m" * 15_000), job=job)
    beat = encode(status(releases=releases, policies=dict.fromkeys(releases, "")))
    out = desk.hub.receive(beat, topic("up/status"))
    assert f"node cam-1: what it should run has more than {MAX_DOCUMENTS} bytes and does not travel" in out.notes
    assert (sent(out), desk.hub.receive(beat, topic("up/status")).notes) == ([], [])


@pytest.mark.parametrize("document", [b"", b"\x80", policy(1, "letters"), policy(1, model="m" * 20_000)])
def test_what_is_no_policy_of_the_job_cannot_be_wanted(document: bytes) -> None:
    desk = Desk()
    desk.beat()
    with pytest.raises(ValueError):
        desk.want(document)
    assert desk.hub.store.policies() == []


def test_a_full_disk_wants_nothing() -> None:
    desk = Desk()
    desk.beat()
    desk.hub.store.full = True
    with pytest.raises(Exception, match="full"):
        desk.want(ONE)
    desk.hub.store.full = False
    assert desk.beat() == []
    assert place(desk.want(ONE)[0]) == (1, 1)
