"""Which key list a hub sends to whom, at which places its states stand then, and what it says where it cannot go on."""

from typing import Any

from cloud_hub.ingest.exchange import SigningKeys
from messages.codec import decode, encode
from messages.shapes import Desired, DesiredState
from messages.signing import KEYS, KeyList, Signer, problem
from tests.cloud_hub.test_desired import PACE, Desk, place, sent
from tests.support.messages import SIGNER
from tests.support.nodes import AT, Hub, HubStore, status, topic
from tests.support.wishes import ROOT, digest, key_list, policy

ONE, TWO = policy(1), policy(2)
NEXT = Signer(bytes([1]) * 32)
LAST = 2**53 - 1


def of_epoch(epoch: int, signer: Signer = SIGNER) -> SigningKeys:
    """A release key with the list in which the root vouches for it."""
    fields = key_list(epoch, signer)
    return SigningKeys(sign=signer.sign, epoch=epoch, key_list=fields["key_list"], signatures=fields["key_signatures"])


class RootedDesk(Desk):
    """A hub with a root, whose keys a command may change, and a node that has had no key list yet."""

    def __init__(self, epoch: int = 1, store: HubStore | None = None, stream: str = "h") -> None:
        self.keys = of_epoch(epoch)
        self.hub = Hub(store, stream=stream, keys=lambda: self.keys, pace=PACE)

    def beat(self, node: str = "cam-1", **fields: Any) -> list[Desired]:
        return super().beat(node, **{"key_epoch": 0} | fields)

    def notes(self, **fields: Any) -> list[str]:
        """What the hub says of a heartbeat, and sends nothing."""
        given: dict[str, Any] = {"releases": {"digits": "m1"}, "policies": {"digits": ""}, "key_epoch": 0}
        out = self.hub.receive(encode(status(**given | fields)), topic("up/status"))
        assert sent(out) == []
        return [note for note in out.notes if "online" not in note]


def lists(desired: Desired) -> int:
    """The epoch of the key list that came along, signed by the root; 0 without one."""
    if not desired.key_list:
        return 0
    assert problem(desired.key_list, desired.key_signatures, {ROOT.public.id: ROOT.public}, KEYS) == ""
    return decode(KeyList, desired.key_list).epoch


def signed_by(desired: Desired, signer: Signer) -> bool:
    return problem(desired.state, desired.signatures, {signer.public.id: signer.public}) == ""


def test_a_node_without_the_key_list_gets_it_even_when_nothing_is_wanted() -> None:
    desk = RootedDesk(3)
    (desired,) = desk.beat()
    assert (lists(desired), place(desired), decode(DesiredState, desired.state).digests) == (3, (3, 1), {})
    desk.receipt(desired)
    assert desk.beat(key_epoch=3, desired=(3, 1)) == []


def test_a_node_that_has_the_key_list_gets_states_without_it() -> None:
    desk = RootedDesk()
    desk.want(ONE)
    (first,) = desk.beat()
    assert (lists(first), place(first)) == (1, (1, 1))
    desk.receipt(first)
    desk.beat(key_epoch=1, desired=(1, 1), policies={"digits": digest(ONE)})
    (second,) = desk.want(TWO)
    assert (lists(second), place(second)) == (0, (1, 2))


def test_a_node_with_fixed_keys_gets_no_key_list_and_the_hubs_epoch() -> None:
    desk = RootedDesk(4)
    assert desk.beat(key_epoch=None) == []
    (desired,) = desk.want(ONE)
    assert (lists(desired), place(desired)) == (0, (4, 1))
    (beyond,) = RootedDesk(4, desk.hub.store, "i").beat(session=2, key_epoch=None, desired=(4, LAST))[-1:]
    assert place(beyond) == (5, 1)


def test_a_rotation_reaches_every_node_that_is_there_within_a_tick() -> None:
    desk = RootedDesk()
    desk.want(ONE)
    for node in ("cam-1", "cam-2"):
        desk.receipt(desk.beat(node)[0])
        runs: dict[str, Any] = {"policies": {"digits": digest(ONE)}, "desired": (1, 1), "key_epoch": 1}
        assert desk.beat(node, **runs) == []
    desk.keys = of_epoch(2, NEXT)
    both = sent(desk.hub.core.tick(1.0, AT))
    assert {decode(DesiredState, each.state).node for each in both} == {"cam-1", "cam-2"}
    for each in both:
        assert (lists(each), place(each), signed_by(each, NEXT)) == (2, (2, 1), True)
        assert decode(DesiredState, each.state).digests == {"policy/digits": digest(ONE)}
    assert sent(desk.hub.core.tick(2.0, AT)) == desk.beat(**runs) == []


def test_a_node_that_was_away_during_rotations_gets_only_the_last_list() -> None:
    desk = RootedDesk()
    desk.receipt(desk.beat()[0])
    desk.keys = of_epoch(7, NEXT)
    (desired,) = desk.beat(session=2, key_epoch=1, desired=(1, 1))
    assert (lists(desired), place(desired)) == (7, (7, 1))


def test_a_thief_that_used_up_an_epoch_is_named_and_left_behind() -> None:
    desk = RootedDesk()
    desk.want(ONE)
    stolen: dict[str, Any] = {"key_epoch": 1, "desired": (1, LAST), "policies": {"digits": digest(TWO)}}
    (said,) = desk.notes(**stolen)
    assert said.startswith("node cam-1: epoch 1 is used up: was the release key stolen? `cloud-hub keys rotate`")
    assert desk.notes(**stolen) == []
    desk.keys = of_epoch(2, NEXT)
    (desired,) = sent(desk.hub.core.tick(1.0, AT))
    assert (lists(desired), place(desired)) == (2, (2, 1))


def test_a_hub_restored_from_before_a_rotation_says_so_once_and_serves_the_rest() -> None:
    desk = RootedDesk(3)
    desk.want(ONE)
    (said,) = desk.notes(key_epoch=5, desired=(5, 2))
    assert said.startswith(
        "node cam-1: its key list has epoch 5, and this hub's key list has epoch 3: restore the newer"
    )
    assert said.endswith("or go beyond it with `cloud-hub keys rotate --epoch 6`")
    assert desk.notes(key_epoch=5, desired=(5, 2)) == []
    assert place(desk.beat("cam-2")[0]) == (3, 1)
    desk.keys = of_epoch(6, NEXT)
    assert [place(each) for each in desk.beat(key_epoch=5, desired=(5, 2))] == [(6, 1)]


def test_a_hub_that_lost_its_key_list_says_so() -> None:
    desk = RootedDesk()
    desk.keys = SigningKeys(sign=NEXT.sign)
    desk.want(ONE)
    (said,) = desk.notes(key_epoch=2)
    assert "its key list has epoch 2, and this hub has no key list" in said


def test_a_state_beyond_the_key_list_asks_for_a_rotation() -> None:
    desk = RootedDesk(2)
    (said,) = desk.notes(key_epoch=0, desired=(4, 1))
    assert "it had a state of epoch 4, and this hub's key list has epoch 2" in said
    assert said.endswith("`cloud-hub keys rotate --epoch 5`")


def test_an_older_key_file_beside_a_newer_database_goes_on_where_the_node_is() -> None:
    desk = RootedDesk(4)
    desk.want(ONE)
    desk.beat(key_epoch=3, desired=(3, 8))
    back = RootedDesk(3, desk.hub.store, "i")
    places = [place(each) for each in back.beat(session=2, key_epoch=3, desired=(3, 8))]
    assert places[-1] == (3, 9)


def test_a_root_that_came_later_gets_the_list_beside_the_same_state() -> None:
    desk = RootedDesk()
    desk.want(ONE)
    (first,) = desk.beat(key_epoch=None)
    desk.receipt(first)
    (again,) = desk.beat(session=2, desired=(1, 1), policies={"digits": digest(ONE)})
    assert (again.state, lists(first), lists(again)) == (first.state, 0, 1)


def test_what_was_refused_without_the_key_list_is_offered_with_it() -> None:
    desk = RootedDesk()
    desk.want(ONE)
    (first,) = desk.beat(key_epoch=None)
    desk.receipt(first, "no key list of the root has come yet")
    (again,) = desk.beat(session=2, key_epoch=0, refusal="no key list of the root has come yet")
    assert (lists(again), place(again)) == (1, (1, 2))


def test_a_node_that_trusts_another_root_is_not_asked_again_and_again() -> None:
    desk = RootedDesk()
    (first,) = desk.beat()
    no = "key list: signed by key 1234, which is not trusted here"
    assert desk.receipt(first, no).notes == [f"node cam-1: does not take all that it should run: {no}"]
    assert desk.beat(refusal=no) == desk.beat(refusal=no) == []
    (again,) = desk.beat(session=2)
    assert again.state == first.state


def test_a_key_list_travels_although_what_is_wanted_is_too_large() -> None:
    desk = RootedDesk()
    releases = {f"job-{number}": "m" for number in range(8)}
    for job in releases:
        desk.want(policy(1, job, model="m" * 15_000), job=job)
    (desired,) = desk.beat(releases=releases)
    assert (lists(desired), decode(DesiredState, desired.state).digests) == (1, {})
    desk.receipt(desired)
    assert desk.beat(releases=releases, key_epoch=1, desired=(1, 1)) == []


def test_the_key_list_stays_small() -> None:
    assert len(encode(RootedDesk().beat()[0])) < 700
