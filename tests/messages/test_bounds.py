"""The outbox stays small, what goes is worth least, and the ledger says why."""

import hypothesis.strategies as st
from hypothesis import given

from messages.delivery.bounds import Bounds, Caps
from messages.delivery.ledger import close
from messages.delivery.memory import MemoryStore
from messages.delivery.rows import Draft, Entry, Kind, Outcome, Totals
from tests.support.outbox import PATH, draft


class Box:
    """A store with bounds."""

    def __init__(self, **caps: Caps) -> None:
        self.store = MemoryStore()
        self.bounds = Bounds(self.store, {Kind(kind): cap for kind, cap in caps.items()})

    def put(self, *drafts: Draft) -> list[bool]:
        with self.store.transaction():
            return [self.bounds.put(item) for item in drafts]

    def ranks(self) -> list[float]:
        return [row.rank for row in self.store.fresh("hub", 1000, 0.0)]

    def dropped(self) -> dict[str, int]:
        ledger = self.store.ledger().items()
        return {entry.reason: number for entry, number in ledger if entry.outcome is Outcome.DROPPED}

    def check(self) -> None:
        waiting = len(self.ranks()) + len(self.store.windowed("hub"))
        books = close(self.store.ledger(), {}, PATH, waiting=waiting, node="node-1", at_hub=True)
        assert books.unbalanced == 0


def test_the_lowest_rank_goes_first_and_among_equals_the_oldest() -> None:
    box = Box(sample=Caps(rows=3))
    box.put(*(draft(i, rank=rank) for i, rank in enumerate([0.9, 0.2, 0.5, 0.2, 0.7])))
    assert box.ranks() == [0.9, 0.5, 0.7]
    box.put(draft(rank=0.5), draft(rank=0.9))
    assert box.ranks() == [0.9, 0.7, 0.9]
    assert box.dropped() == {"rows": 4}
    box.check()


def test_bytes_are_bounded_too() -> None:
    box = Box(sample=Caps(bytes=100))
    box.put(*(draft(rank=float(i), body=bytes(40)) for i in range(4)))
    assert (box.ranks(), box.dropped()) == ([2.0, 3.0], {"bytes": 2})
    box.put(draft(rank=9.0, body=bytes(101)))
    assert (box.ranks(), box.dropped()) == ([], {"bytes": 5})
    box.check()


def test_audit_samples_have_a_quota_of_their_own() -> None:
    box = Box(sample=Caps(rows=1), audit=Caps(rows=1))
    box.put(draft(rank=0.1, kind=Kind.AUDIT), *(draft(rank=0.9) for _ in range(5)))
    assert box.store.totals(Kind.AUDIT) == Totals(1, box.store.totals(Kind.SAMPLE).bytes)


def test_a_kind_without_caps_is_never_dropped() -> None:
    box = Box(sample=Caps(rows=1))
    box.put(*(draft(kind=Kind.CONTROL) for _ in range(50)))
    assert box.bounds.expire(1e9) == 0
    assert box.store.totals(Kind.CONTROL).rows == 50


def test_what_is_in_flight_is_never_dropped() -> None:
    box = Box(sample=Caps(rows=2, age_s=10.0))
    box.put(draft(rank=0.0), draft(rank=0.1))
    with box.store.transaction():
        for seq, row in enumerate(box.store.fresh("hub", 2, 0.0)):
            box.store.enter(row.id, "s", seq)
    box.put(draft(rank=5.0))
    assert (box.ranks(), len(box.store.windowed("hub"))) == ([], 2)
    assert box.bounds.expire(1e9) == 0
    box.check()


def test_what_is_too_old_goes() -> None:
    box = Box(sample=Caps(age_s=10.0))
    box.put(draft(created=0.0), draft(created=5.0), draft(created=6.0))
    with box.store.transaction():
        assert (box.bounds.expire(10.0), box.bounds.expire(15.5)) == (0, 2)
    assert box.dropped() == {"age": 2}
    box.check()


def test_a_natural_key_that_waits_is_not_counted_again() -> None:
    box = Box()
    assert box.put(draft(key="a"), draft(key="a")) == [True, False]
    assert box.store.ledger() == {Entry("hub", "digits", PATH, Outcome.CREATED): 1}


def test_the_latest_of_a_slot_supersedes_what_was_not_sent() -> None:
    box = Box()
    reports = [draft(i, kind=Kind.REPORT, slot="counters", rank=float(i)) for i in range(3)]
    box.put(*reports[:2])
    assert (box.ranks(), box.dropped()) == ([1.0], {"superseded": 1})
    with box.store.transaction():
        box.store.enter(box.store.fresh("hub", 1, 0.0)[0].id, "s", 0)
    box.put(reports[2])
    assert (box.ranks(), len(box.store.windowed("hub"))) == ([2.0], 1)
    box.check()


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), st.booleans())), st.integers(1, 5), st.integers(1, 60))
def test_caps_always_hold_and_the_books_close(rows: list[tuple[float, int, bool]], most: int, size: int) -> None:
    box = Box(sample=Caps(rows=most, bytes=size))
    for rank, length, named in rows:
        box.put(draft(rank=rank, body=bytes(length), key=str(length) if named else ""))
        totals = box.store.totals(Kind.SAMPLE)
        assert totals.rows <= most
        assert totals.bytes <= size
        box.check()


@given(st.lists(st.floats(0, 1), min_size=1), st.integers(1, 5))
def test_the_most_valuable_are_kept(ranks: list[float], most: int) -> None:
    box = Box(sample=Caps(rows=most))
    box.put(*(draft(rank=rank) for rank in ranks))
    assert sorted(box.ranks()) == sorted(ranks)[-most:]
