"""A message is applied once: however often it comes, in whatever order, before and after a restart."""

from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from messages.delivery import receiver
from messages.delivery.memory import MemoryStore
from messages.delivery.receiver import MAX_SPREAD, Receiver, Verdict
from messages.shapes import Envelope


def message(event_id: str, low: int = 0) -> Envelope:
    return Envelope(event_id=event_id, timestamp=0, low=low)


class Inbox:
    """A receiver and what it let through."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.receiver = Receiver(self.store)
        self.applied: list[tuple[str, str]] = []

    def take(
        self, event_id: str, low: int = 0, content: bytes = b"c", *, peer: str = "node-1", now: float = 0.0
    ) -> Verdict:
        with self.store.transaction():
            verdict = self.receiver.judge(peer, message(event_id, low), content)
            if verdict is Verdict.NEW:
                self.receiver.keep(peer, message(event_id, low), content)
                self.applied.append((peer, event_id))
            self.receiver.flush(now)
        return verdict


def test_a_message_is_new_once() -> None:
    inbox = Inbox()
    assert [inbox.take("s.0"), inbox.take("s.0"), inbox.take("s.1"), inbox.take("s.0")] == [
        *(Verdict.NEW, Verdict.SEEN),
        *(Verdict.NEW, Verdict.SEEN),
    ]


def test_streams_and_peers_are_apart() -> None:
    inbox = Inbox()
    verdicts = {inbox.take("s.0"), inbox.take("t.0"), inbox.take("s.0", peer="node-2"), inbox.take("s.t.0")}
    assert verdicts == {Verdict.NEW}


def test_what_lies_below_low_was_given_up_by_its_sender() -> None:
    inbox = Inbox()
    inbox.take("s.5", low=5)
    assert inbox.take("s.4", low=0) is Verdict.PASSED
    assert inbox.take("s.6", low=3) is Verdict.NEW
    assert inbox.store.streams["node-1", "s"].low == 5


def test_low_frees_memory() -> None:
    inbox = Inbox()
    for seq in range(10):
        inbox.take(f"s.{seq}")
    inbox.take("s.10", low=9)
    assert set(inbox.store.streams["node-1", "s"].seen) == {9, 10}


def test_the_same_id_with_other_content_is_a_conflict() -> None:
    inbox = Inbox()
    inbox.take("s.0", content=b"one")
    assert inbox.take("s.0", content=b"two") is Verdict.CONFLICT
    assert inbox.take("s.0", content=b"one") is Verdict.SEEN


def test_an_id_far_above_low_is_not_remembered() -> None:
    inbox = Inbox()
    assert inbox.take(f"s.{MAX_SPREAD}") is Verdict.NEW
    assert inbox.take(f"s.{MAX_SPREAD + 1}") is Verdict.TOO_FAR
    assert inbox.take(f"s.{MAX_SPREAD + 1}", low=1) is Verdict.NEW


LONG = ("s." + "9" * 19, "x" * 65 + ".1")


@pytest.mark.parametrize("event_id", ["", "s", "s.", ".1", "s.x", "s.-1", "s.1.x", "s. 1", "s.٣", *LONG])
def test_what_is_no_id_is_said(event_id: str) -> None:
    with pytest.raises(ValueError, match=r"event_id .*: not stream\.seq"):
        Inbox().take(event_id)


def test_a_low_above_the_message_itself_settles_nothing() -> None:
    inbox = Inbox()
    with pytest.raises(ValueError, match=r"low 9 lies above the message's own id s\.3"):
        inbox.take("s.3", low=9)
    assert inbox.take("s.3", low=3) is Verdict.NEW


def test_a_restart_remembers() -> None:
    inbox = Inbox()
    inbox.take("s.3", low=2, content=b"three")
    after = Inbox(inbox.store)
    assert after.take("s.1") is Verdict.PASSED
    assert after.take("s.3", content=b"three") is Verdict.SEEN
    assert after.take("s.3", content=b"other") is Verdict.CONFLICT
    assert after.take("s.4") is Verdict.NEW


def test_a_failed_transaction_is_forgotten_and_the_resend_is_new() -> None:
    inbox = Inbox()
    with pytest.raises(RuntimeError), inbox.store.transaction():
        assert inbox.receiver.judge("node-1", message("s.0"), b"c") is Verdict.NEW
        inbox.receiver.keep("node-1", message("s.0"), b"c")
        inbox.receiver.flush(0.0)
        raise RuntimeError
    inbox.receiver.reload()
    assert inbox.take("s.0") is Verdict.NEW


def test_silent_streams_are_forgotten_unless_the_peer_still_has_rows() -> None:
    inbox = Inbox()
    for stream in ("old", "kept"):
        inbox.take(f"{stream}.0", now=10.0)
    inbox.take("new.0", now=100.0)
    with inbox.store.transaction():
        inbox.receiver.forget("node-1", ("kept",), 50.0)
    assert {stream for _, stream in inbox.store.streams} == {"kept", "new"}
    assert [inbox.take(f"{stream}.0") for stream in ("kept", "new", "old")] == [Verdict.SEEN, Verdict.SEEN, Verdict.NEW]


def test_more_streams_than_fit_into_memory_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "MAX_CACHED", 3)
    inbox = Inbox()
    assert {inbox.take(f"s{i}.0") for i in range(10)} == {Verdict.NEW}
    assert {inbox.take(f"s{i}.0") for i in range(10)} == {Verdict.SEEN}


@given(st.randoms(use_true_random=False), st.integers(1, 8))
@settings(deadline=None)
def test_duplicates_in_any_order_are_applied_once_each(random: Random, window: int) -> None:
    """A window slides over twenty messages; every copy may come at any later time, any number of times."""
    inbox, received = Inbox(), set[int]()
    copies: list[tuple[int, int]] = []
    low = 0
    while low < 20:
        copies += [(seq, low) for seq in range(low, min(low + window, 20))]
        seq, carried = random.choice(copies[-4 * window :])
        verdict = inbox.take(f"s.{seq}", carried, str(seq).encode())
        assert verdict in ((Verdict.SEEN, Verdict.PASSED) if seq in received else (Verdict.NEW,))
        received.add(seq)
        inbox = restarted(inbox) if random.random() < 0.1 else inbox
        while low in received:
            low += 1
    assert sorted(inbox.applied) == sorted(("node-1", f"s.{seq}") for seq in range(20))
    assert len(inbox.store.streams["node-1", "s"].seen) <= 20


def restarted(inbox: Inbox) -> Inbox:
    after = Inbox(inbox.store)
    after.applied = inbox.applied
    return after
