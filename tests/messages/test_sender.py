"""A row is sent until its receipt comes: how many at once, when again, and when it is given up."""

from itertools import pairwise
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from messages.delivery.rows import Kind, Outcome
from messages.delivery.sender import LEAST, SPREAD, Outgoing, Pace, Sender
from messages.shapes import Receipt
from tests.support.outbox import AT, Outbox, envelope, receipt, sent


def online(pace: Pace | None = None) -> Outbox:
    box = Outbox(pace)
    box.sender.online()
    return box


def test_nothing_is_sent_to_a_peer_that_is_away() -> None:
    box = Outbox()
    box.put(3)
    assert (box.due(), box.sender.has_work(0.0), box.sender.wake_at()) == ([], False, None)
    box.sender.online()
    assert box.sender.has_work(0.0)
    assert sent(box.due()) == ["s.0", "s.1", "s.2"]
    box.sender.offline()
    assert (box.due(1e6), box.sender.wake_at()) == ([], None)


def test_a_receipt_makes_room_for_the_next_and_low_rises() -> None:
    box = online()
    box.put(6)
    first = box.due()
    assert sent(first) == ["s.0", "s.1", "s.2", "s.3"]
    assert [envelope(item).low for item in first] == [0, 0, 0, 0]
    assert (box.settle(receipt("s.0", "s.1")), box.sender.in_flight) == (2, 2)
    second = box.due()
    assert sent(second) == ["s.4", "s.5"]
    assert [envelope(item).low for item in second] == [2, 2]
    assert box.number(Outcome.DONE) == 2


def test_two_rows_with_blobs_are_in_flight_at_once_and_others_pass() -> None:
    box = online()
    box.put(5, blob="ab")
    box.put(1)
    assert sent(box.due()) == ["s.0", "s.1", "s.2"]
    assert [row.blob for row in box.store.windowed("hub")] == ["", "ab", "ab"]
    assert box.due(0.1) == []
    box.settle(receipt("s.1"))
    assert sent(box.due()) == ["s.3"]
    box.settle(receipt("s.0", later=("s.2",)), 0.2)
    assert box.due(0.3) == []


def test_others_pass_a_row_whose_receipt_is_late_for_eight_windows() -> None:
    box = online()
    box.put(50)
    got = sent(box.due())
    while later := [event_id for event_id in got if event_id != "s.0"]:
        box.settle(receipt(*later))
        assert box.sender.in_flight == 1
        got = sent(box.due(0.1))
    assert box.number(Outcome.DONE) == 8 * 4 - 1
    box.settle(receipt("s.0"))
    assert sent(box.due(0.1)) == ["s.32", "s.33", "s.34", "s.35"]


def test_a_transaction_that_failed_was_no_try_and_makes_no_row_leave_the_window() -> None:
    box = online()
    box.put(50)
    got = sent(box.due())
    while later := [event_id for event_id in got if event_id != "s.0"]:
        box.settle(receipt(*later))
        got = sent(box.due(0.1))
    for minutes in range(10):
        assert sent(box.due(100.0 + 100.0 * minutes)) == ["s.0"]
        box.sender.reload()
    box.sender.online()
    assert sent(box.due(2000.0)) == ["s.0"]


def test_credit_bounds_what_is_in_flight() -> None:
    box = online()
    box.put(20)
    box.settle(receipt(credit=2))
    assert sent(box.due()) == ["s.0", "s.1"]
    box.settle(receipt("s.0", "s.1", credit=0))
    assert sent(box.due()) == ["s.2"]
    box.settle(receipt("s.2", credit=100))
    assert len(box.due()) == 4


def test_a_resend_backs_off_twice_as_late_each_time_with_jitter() -> None:
    box = online(Pace(window=4, first_s=2.0, last_s=10.0))
    box.put(1)
    box.due()
    times = [0.0]
    for _ in range(6):
        wake = box.sender.wake_at() or 0.0
        assert box.due(wake - 0.001) == []
        assert sent(box.due(wake)) == ["s.0"]
        times.append(wake)
    gaps = [after - before for before, after in pairwise(times)]
    for gap, base in zip(gaps, [2.0, 4.0, 8.0, 10.0, 10.0, 10.0], strict=True):
        assert 0.8 * base <= gap <= 1.2 * base
    assert len(set(gaps[3:])) == 3


def test_everything_in_flight_goes_out_again_when_the_peer_returns() -> None:
    box = online()
    box.put(3)
    box.due()
    box.sender.offline()
    box.sender.online()
    assert sent(box.due(0.5)) == ["s.0", "s.1", "s.2"]


def test_a_resend_has_the_same_id_and_body_and_the_newest_low() -> None:
    box = online()
    box.put(2)
    _, second = box.due()
    box.settle(receipt("s.0"), 0.1)
    (again,) = box.due(100.0)
    assert (envelope(second).event_id, envelope(second).low) == ("s.1", 0)
    assert (envelope(again).event_id, envelope(again).low) == ("s.1", 1)
    assert again.path == second.path


def test_after_a_silence_the_first_receipt_hurries_what_waits() -> None:
    box = online(Pace(window=4, first_s=2.0, last_s=60.0))
    box.put(1)
    box.due()
    for _ in range(7):
        box.due(box.sender.wake_at())
    asleep = box.now + 1.0
    assert (box.sender.wake_at() or 0.0) > asleep + 40.0
    assert box.sender.silent_s(asleep) > 60.0
    box.settle(receipt(), asleep)
    assert (box.sender.wake_at() or 1e9) <= asleep + 2.4
    assert box.sender.silent_s(asleep) == 0.0
    assert sent(box.due(asleep + 2.4)) == ["s.0"]


def test_silence_begins_with_the_first_send_to_a_peer_that_is_there() -> None:
    box = online(Pace(window=4, first_s=2.0, last_s=3.0))
    box.put(1)
    box.due(10.0)
    assert box.sender.silent_s(12.0) == 0.0
    for now in (15.0, 20.0, 25.0):
        box.due(now)
    assert box.sender.silent_s(26.0) == 16.0
    box.sender.offline()
    box.sender.online()
    box.due(1000.0)
    assert box.sender.silent_s(1001.0) == 1.0


def test_later_means_not_before_then() -> None:
    box = online(Pace(window=4, first_s=2.0, park_s=30.0))
    box.put(1)
    box.due()
    box.settle(receipt(later=("s.0",), retry_s=20.0))
    assert box.due(19.9) == []
    assert sent(box.due(20.0)) == ["s.0"]


def test_a_row_that_must_wait_long_leaves_the_window_and_gets_another_id() -> None:
    box = online(Pace(window=4, park_s=30.0))
    box.put(2)
    box.due()
    box.settle(receipt("s.1", later=("s.0",), retry_s=31.0))
    assert (box.sender.in_flight, box.sender.streams) == (0, ())
    box.sender.wake()
    assert box.due(30.9) == []
    box.sender.wake()
    (again,) = box.due(31.0)
    assert (envelope(again).event_id, envelope(again).low) == ("s.2", 2)
    assert box.settle(receipt("s.0")) == 0
    assert box.settle(receipt("s.2")) == 1


def test_what_is_refused_goes_to_the_dead_letters_with_the_reason() -> None:
    box = online()
    box.put(2)
    box.due()
    assert box.settle(receipt("s.0", refused=("s.1",))) == 2
    assert [(row.event_id, reason) for row, reason in box.store.dead_letters] == [("s.1", "no good")]
    assert (box.number(Outcome.REFUSED), box.store.peers()) == (1, [])


def test_a_silent_peer_costs_no_strikes() -> None:
    box = online(Pace(window=4, strikes=2, last_s=2.0))
    box.put(1)
    for step in range(50):
        box.due(3.0 * step)
    assert (box.sender.in_flight, box.store.dead_letters) == (1, [])


def test_one_message_that_never_gets_a_receipt_blocks_no_other() -> None:
    box = online(Pace(window=4, strikes=5, first_s=1.0, last_s=4.0))
    box.put(100)
    poison, arrived = None, set()
    for step in range(400):
        for item in box.due(0.5 * step):
            row = next(row for row in box.store.windowed("hub") if row.event_id == envelope(item).event_id)
            poison = row.id if poison is None else poison
            if row.id != poison:
                arrived.add(row.id)
                box.settle(receipt(row.event_id), 0.5 * step + 0.1)
    assert len(arrived) == 99
    ((row, reason),) = box.store.dead_letters
    assert (row.id, reason) == (poison, "no receipt after 6 tries")
    assert box.sender.in_flight == 0


def test_receipts_for_what_is_not_in_flight_are_old_news() -> None:
    box = online()
    box.put(1)
    box.due()
    unknown = ("s.7", "t.0", "", "nonsense", "s.-1", "s.٣")
    assert box.settle(receipt(*unknown, refused=unknown, later=unknown)) == 0
    assert box.sender.in_flight == 1
    assert box.settle(receipt("s.0", "s.0")) == 1


def test_a_restart_keeps_ids_and_the_old_stream_finishes() -> None:
    box = online()
    box.put(6)
    box.due()
    box.settle(receipt("s.0", "s.2"))
    after = Outbox(Pace(window=4), stream="t", store=box.store)
    after.sender.online()
    assert (after.sender.in_flight, after.sender.streams) == (2, ("s",))
    out = after.due()
    assert [(envelope(item).event_id, envelope(item).low) for item in out] == [
        *(("s.1", 1), ("s.3", 1)),
        *(("t.0", 0), ("t.1", 0)),
    ]
    assert after.settle(receipt("s.1", "s.3")) == 2
    assert after.sender.streams == ("t",)
    assert after.settle(receipt("t.0", "t.1")) == 2
    assert after.store.peers() == []


def test_a_failed_transaction_gives_the_ids_back() -> None:
    box = online()
    box.put(2)
    with pytest.raises(RuntimeError), box.store.transaction():
        assert sent(box.sender.due(0.0, AT)) == ["s.0", "s.1"]
        raise RuntimeError
    box.sender.reload()
    assert box.sender.in_flight == 0
    out = box.due()
    assert [(envelope(item).event_id, envelope(item).low) for item in out] == [("s.2", 2), ("s.3", 2)]
    with pytest.raises(RuntimeError), box.store.transaction():
        box.sender.settle(receipt("s.2"), 0.0, AT)
        raise RuntimeError
    box.sender.reload()
    assert (box.sender.in_flight, box.number(Outcome.DONE)) == (2, 0)
    assert box.settle(receipt("s.2", "s.3")) == 2


def test_a_paused_sender_asks_the_store_again_only_then() -> None:
    box = online()
    box.put(2)
    box.sender.reload()
    box.sender.pause(10.0)
    assert (box.sender.has_work(9.9), box.due(9.9), box.sender.wake_at()) == (False, [], 10.0)
    assert box.sender.has_work(10.0)
    assert sent(box.due(10.0)) == ["s.0", "s.1"]
    assert (box.sender.wake_at() or 0.0) > 10.0


def test_the_round_trip_is_counted_from_the_first_send_and_slows_the_resend() -> None:
    box = online(Pace(window=4, first_s=1.0))
    box.put(1)
    box.due(0.0)
    box.due(1.5)
    box.settle(receipt("s.0"), 2.0)
    assert box.sender.round_trip_s == 2.0
    box.put(1)
    box.due(10.0)
    assert 10.0 + 0.8 * 6.0 <= (box.sender.wake_at() or 0.0) <= 10.0 + 1.2 * 6.0


def test_neither_an_hour_without_a_link_nor_a_later_counts_as_round_trip() -> None:
    box = online(Pace(window=4))
    box.put(1)
    box.due(0.0)
    box.sender.online()
    box.due(3600.0)
    box.settle(receipt(later=("s.0",), retry_s=20.0), 3601.0)
    box.due(3621.0)
    box.settle(receipt("s.0"), 3621.5)
    assert box.sender.round_trip_s == 0.5


def served(box: Outbox, rows: int, *, each_s: float, delay_s: float = 0.0) -> list[int]:
    """Carry rows over a link that takes `each_s` for one and is `delay_s` long; how many were in flight each time."""
    box.put(rows)
    queue: list[tuple[str, float]] = []
    end, flights = box.now, []
    while box.store.peers():
        for event_id in sent(box.due()):
            end = max(end, box.now) + each_s
            queue.append((event_id, end + delay_s))
        flights.append(box.sender.in_flight)
        event_id, box.now = queue.pop(0)
        box.settle(receipt(event_id))
    return flights


def test_on_a_slow_link_only_so_much_is_in_flight_as_it_carries_in_a_moment() -> None:
    box = online(Pace(window=64))
    flights = served(box, 400, each_s=0.1)
    assert 20 <= max(flights) <= 45
    assert 15 <= flights[-30] <= 30
    assert sum(flights) > 0 == len(box.store.dead_letters)
    assert min(served(box, 50, each_s=5.0)[10:40]) == LEAST


def test_a_far_peer_gets_a_whole_window() -> None:
    assert max(served(online(Pace(window=64)), 400, each_s=0.001, delay_s=5.0)) == 64


def test_peers_do_not_share_a_window() -> None:
    box = online()
    box.put(9, peer="node-1")
    box.put(1)
    assert sent(box.due()) == ["s.0"]
    assert Sender(box.store, "node-1", "x", pace=Pace(), random=Random(2)).in_flight == 0


def test_the_urgent_overtake_what_waits() -> None:
    box = online(Pace(window=1))
    box.put(2)
    box.put(1, kind=Kind.CONTROL)
    assert [item.path for item in box.due()] == ["up/report"]
    assert [row.kind for row in box.store.windowed("hub")] == [Kind.CONTROL]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5)),
        st.tuples(st.just("due"), st.floats(0.0, 40.0)),
        st.tuples(st.just("done"), st.integers(0, 9)),
        st.tuples(st.just("refused"), st.integers(0, 9)),
        st.tuples(st.just("later"), st.floats(0.0, 90.0)),
        st.tuples(st.just("credit"), st.integers(0, 9)),
        st.tuples(st.sampled_from(["away", "back", "restart", "undo"]), st.just(0)),
    ),
    max_size=60,
)
PACE = Pace(window=5, strikes=3)


class Story:
    """Random events at one sender, with what must hold after each."""

    def __init__(self) -> None:
        self.box = online(PACE)
        self.settled: set[str] = set()
        self.starts = 0

    def live(self, what: str, value: float) -> None:
        box, rows = self.box, self.box.store.windowed("hub")
        match what:
            case "put":
                box.put(int(value))
            case "due":
                self.sent(box.due(box.now + value))
            case "done" | "refused" | "later" if rows:
                row = rows[int(value) % len(rows)]
                names = {"done": receipt(row.event_id), "refused": receipt(refused=(row.event_id,))}
                self.settle(names.get(what, receipt(later=(row.event_id,), retry_s=value)))
            case "credit":
                self.settle(receipt(credit=int(value)))
            case "away":
                box.sender.offline()
            case "back":
                box.sender.online()
            case "restart":
                self.starts += 1
                self.box = Outbox(PACE, stream=f"s{self.starts}", store=box.store)
                self.box.now = box.now
                self.box.sender.online()
            case "undo":
                self.undo()

    def settle(self, given: Receipt) -> None:
        self.box.settle(given, self.box.now)
        self.settled |= {*given.done, *(refusal.event_id for refusal in given.refused)}

    def undo(self) -> None:
        with pytest.raises(RuntimeError), self.box.store.transaction():
            self.box.sender.due(self.box.now, AT)
            raise RuntimeError
        self.box.sender.reload()

    def sent(self, outgoing: list[Outgoing]) -> None:
        for item in outgoing:
            head = envelope(item)
            stream, seq = head.event_id.rsplit(".", 1)
            assert head.low <= int(seq) < head.low + SPREAD * PACE.window
            assert head.event_id not in self.settled
            waiting = [row.seq for row in self.box.store.windowed("hub") if row.stream == stream]
            assert head.low <= min(waiting)

    def check(self) -> None:
        rows = self.box.store.windowed("hub")
        fresh = self.box.store.fresh("hub", 10_000, float("inf"))
        assert len({row.event_id for row in rows}) == len(rows) == self.box.sender.in_flight
        assert set(self.box.sender.streams) == {row.stream for row in rows}
        gone = self.box.number(Outcome.DONE) + self.box.number(Outcome.REFUSED)
        assert self.box.number(Outcome.CREATED) == gone + len(rows) + len(fresh)
        assert len(self.box.store.dead_letters) == self.box.number(Outcome.REFUSED)


@given(EVENTS)
@settings(max_examples=150, deadline=None)
def test_whatever_happens_the_window_holds_and_the_books_close(events: list[tuple[str, float]]) -> None:
    story = Story()
    for what, value in events:
        story.live(what, value)
        story.check()


@given(EVENTS)
@settings(max_examples=60, deadline=None)
def test_once_receipts_come_everything_arrives(events: list[tuple[str, float]]) -> None:
    story = Story()
    for what, value in events:
        story.live(what, value)
    story.box.sender.online()
    for _ in range(200):
        story.box.sender.wake()
        out = story.box.due(story.box.now + 10.0)
        story.box.settle(receipt(*sent(out)))
    assert story.box.store.peers() == []
