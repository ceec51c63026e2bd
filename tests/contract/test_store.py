"""What every store must do: the same suite over memory and SQLite."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from messages.delivery.memory import MemoryStore
from messages.delivery.rows import Draft, Entry, Kind, Outcome, Quarantined, StreamState, Totals
from messages.delivery.sqlite import SqliteStore, connect
from messages.delivery.store import Store, StoreFull


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    connection = connect(tmp_path / "store.db", full=False)
    yield SqliteStore(connection)
    connection.close()


def draft(key: str = "", *, kind: Kind = Kind.SAMPLE, **changes: object) -> Draft:
    fields: dict[str, object] = {"peer": "hub", "path": "up/sample", "job": "digits", "body": b"body", "created": 1.0}
    return Draft(**(fields | {"key": key, "kind": kind} | changes))  # type: ignore[arg-type]


def put(store: Store, *drafts: Draft) -> list[bool]:
    with store.transaction():
        return [store.put(item) for item in drafts]


def ids(store: Store, peer: str = "hub", now: float = 1e9) -> list[int]:
    return [row.id for row in store.fresh(peer, 100, now)]


def test_a_row_comes_back_as_it_was_put(store: Store) -> None:
    put(store, draft("a", rank=0.25, body=b"\x00\xff", created=3.5))
    (row,) = store.fresh("hub", 10, 0.0)
    assert (row.peer, row.path, row.job, row.kind) == ("hub", "up/sample", "digits", Kind.SAMPLE)
    assert (row.size, row.created, row.rank, row.stream, row.seq) == (2, 3.5, 0.25, "", -1)
    assert store.body(row.id) == b"\x00\xff"
    assert store.peers() == ["hub"]


def test_a_natural_key_waits_only_once(store: Store) -> None:
    assert put(store, draft("a"), draft("a")) == [True, False]
    elsewhere = [draft("a", job="other"), draft("a", path="up/report"), draft("a", peer="node-1"), draft(), draft()]
    assert put(store, *elsewhere) == [True] * 5
    (first, *_) = ids(store)
    with store.transaction():
        store.remove(first)
    assert put(store, draft("a")) == [True]


def test_the_most_urgent_goes_first_then_the_oldest(store: Store) -> None:
    put(store, *(draft(kind=kind) for kind in (Kind.SAMPLE, Kind.SAMPLE, Kind.REPORT, Kind.CONTROL, Kind.AUDIT)))
    rows = store.fresh("hub", 10, 0.0)
    assert [row.kind for row in rows] == [Kind.CONTROL, Kind.REPORT, Kind.AUDIT, Kind.SAMPLE, Kind.SAMPLE]
    assert rows[3].id < rows[4].id
    assert store.fresh("hub", 2, 0.0) == rows[:2]


def test_rows_with_blobs_let_others_pass_and_say_what_they_need(store: Store) -> None:
    put(
        store,
        draft("a", blob="ab", beside=100),
        draft("b", kind=Kind.AUDIT, blob="cd"),
        draft("c", blob="ab"),
        draft("d"),
    )
    rows = store.fresh("hub", 10, 0.0)
    assert [(row.key, row.blob, row.size) for row in rows] == [
        ("d", "", 4),
        ("b", "cd", 4),
        ("a", "ab", 104),
        ("c", "ab", 4),
    ]
    assert store.totals(Kind.SAMPLE) == Totals(3, 112)
    assert (sorted(store.blobs()), store.needs("ab"), store.needs("")) == (["ab", "cd"], True, False)
    with store.transaction():
        store.enter(rows[2].id, "s", 1)
        store.remove(rows[1].id)
    assert (store.windowed("hub")[0].blob, store.blobs(), store.needs("cd")) == ("ab", ["ab"], False)
    assert store.totals(Kind.SAMPLE) == Totals(3, 112)


def test_a_row_with_an_id_is_in_the_window_and_no_longer_fresh(store: Store) -> None:
    put(store, *(draft() for _ in range(4)))
    first, second, third, fourth = ids(store)
    with store.transaction():
        store.enter(first, "b", 7)
        store.enter(second, "a", 10)
        store.enter(third, "a", 9)
    assert [row.event_id for row in store.windowed("hub")] == ["a.9", "a.10", "b.7"]
    assert ids(store) == [fourth]
    assert store.windowed("another") == []


def test_a_parked_row_loses_its_id_and_waits_for_its_time(store: Store) -> None:
    put(store, draft())
    (row,) = ids(store)
    with store.transaction():
        store.enter(row, "a", 1)
        store.park(row, 50.0)
    assert store.windowed("hub") == []
    assert (ids(store, now=49.9), ids(store, now=50.0)) == ([], [row])
    assert [parked.id for parked in store.worst(Kind.SAMPLE, 10)] == [row]


def test_a_slot_finds_only_what_was_never_sent(store: Store) -> None:
    report = draft(kind=Kind.REPORT, slot="counters")
    assert store.unsent(report) is None
    put(store, report, draft(kind=Kind.REPORT, slot="counters", job="other"), draft(kind=Kind.REPORT))
    found = store.unsent(report)
    assert found is not None
    assert found.job == "digits"
    with store.transaction():
        store.enter(found.id, "a", 1)
    assert store.unsent(report) is None


def test_the_worst_and_the_aged_are_unsent_rows_of_one_kind(store: Store) -> None:
    ranks = [(0.5, 1.0), (0.1, 2.0), (0.1, 3.0), (0.0, 4.0)]
    put(store, *(draft(rank=rank, created=created) for rank, created in ranks), draft(kind=Kind.AUDIT, rank=-1.0))
    sent = next(row.id for row in store.fresh("hub", 10, 0.0) if row.rank == 0.0)
    with store.transaction():
        store.enter(sent, "a", 1)
    assert [(row.rank, row.created) for row in store.worst(Kind.SAMPLE, 2)] == [(0.1, 2.0), (0.1, 3.0)]
    assert [row.created for row in store.aged(Kind.SAMPLE, 3.0, 10)] == [1.0, 2.0]
    assert len(store.aged(Kind.SAMPLE, 3.0, 1)) == 1


def test_totals_count_rows_and_bytes_by_kind_and_peer(store: Store) -> None:
    put(store, draft(body=b"12345"), draft(body=b"123", peer="node-1"), draft(kind=Kind.AUDIT))
    assert store.totals(Kind.SAMPLE) == Totals(2, 8)
    assert store.totals(Kind.SAMPLE, "node-1") == Totals(1, 3)
    assert store.totals(Kind.CONTROL) == store.totals(Kind.SAMPLE, "nobody") == Totals(0, 0)
    with store.transaction():
        store.remove(ids(store, "node-1")[0])
    assert store.totals(Kind.SAMPLE) == Totals(1, 5)
    assert store.peers() == ["hub"]


def test_streams_are_remembered_and_forgotten(store: Store) -> None:
    state = StreamState(3, {4: b"four", 9: b"nine"}, 10.0)
    with store.transaction():
        for stream in ("kept", "quiet"):
            store.save_stream("node-1", stream, state)
        store.save_stream("node-1", "fresh", StreamState(0, {}, 99.0))
        store.save_stream("node-2", "quiet", state)
    assert store.load_stream("node-1", "kept") == state
    assert store.load_stream("node-1", "never") is None
    with store.transaction():
        store.forget_streams("node-1", ("kept", "unknown"), 50.0)
    assert store.load_stream("node-1", "quiet") is None
    kept = [("node-1", "kept"), ("node-1", "fresh"), ("node-2", "quiet")]
    assert all(store.load_stream(*name) is not None for name in kept)


def test_a_status_may_name_any_number_of_streams(store: Store) -> None:
    with store.transaction():
        store.save_stream("node-1", "gone", StreamState())
        store.forget_streams("node-1", tuple(f"stream-{i}" for i in range(40_000)), 1.0)
    assert store.load_stream("node-1", "gone") is None


def test_a_loaded_stream_is_a_copy(store: Store) -> None:
    with store.transaction():
        store.save_stream("node-1", "s", StreamState(0, {1: b"one"}, 0.0))
    loaded = store.load_stream("node-1", "s")
    assert loaded is not None
    loaded.seen[2] = b"two"
    again = store.load_stream("node-1", "s")
    assert again is not None
    assert again.seen == {1: b"one"}


def test_numbers_and_ledger_add_up(store: Store) -> None:
    entry = Entry("hub", "digits", "up/sample", Outcome.DONE)
    with store.transaction():
        store.record("session", 2**53 - 1)
        store.count(entry)
        store.count(entry, 2)
        assert store.ledger()[entry] == 3
    with store.transaction():
        store.count(entry)
        store.count(Entry("hub", "digits", "up/sample", Outcome.DROPPED, "age"))
    assert store.ledger() == {entry: 4, Entry("hub", "digits", "up/sample", Outcome.DROPPED, "age"): 1}
    assert (store.recall("session"), store.recall("nothing")) == (2**53 - 1, 0)


def disturb(store: Store, row: int) -> None:
    """Change everything that a store keeps."""
    store.put(draft("new", body=b"123456789"))
    store.enter(row, "a", 1)
    store.bury(store.windowed("hub")[0], "reason", 1)
    store.remove(row)
    store.save_stream("node-1", "s", StreamState(5, {}, 1.0))
    store.quarantine(Quarantined(topic="t", reason="r", size=1, head=b"x", at=1))
    store.count(Entry("hub", "", "", Outcome.DONE), 7)
    store.record("session", 9)


def everything(store: Store) -> tuple[object, ...]:
    rows = (store.fresh("hub", 100, 1e9), store.windowed("hub"))
    numbers = (store.totals(Kind.SAMPLE), store.peers(), store.ledger(), store.recall("session"))
    return (*rows, *numbers, store.load_stream("node-1", "s"), letters(store))


def letters(store: Store) -> tuple[list[str], list[str]]:
    """The reasons of dead letters and of quarantined bytes, oldest first."""
    if isinstance(store, MemoryStore):
        return [reason for _, reason in store.dead_letters], [bad.reason for bad in store.quarantined]
    assert isinstance(store, SqliteStore)
    tables = ("dead_letters", "quarantine")
    dead, bad = ([r for (r,) in store.connection.execute(f"SELECT reason FROM {t} ORDER BY id")] for t in tables)
    return dead, bad


class Failure(Exception):
    """What goes wrong in the middle of a transaction."""


@pytest.mark.parametrize("nested", [False, True])
def test_a_failed_transaction_leaves_nothing(store: Store, nested: bool) -> None:
    put(store, draft("old"))
    with store.transaction():
        store.record("session", 3)
        store.count(Entry("hub", "", "", Outcome.DONE))
    before = everything(store)
    with pytest.raises(Failure), store.transaction():
        if nested:
            with store.transaction():
                disturb(store, ids(store)[0])
        else:
            disturb(store, ids(store)[0])
        assert everything(store) != before
        raise Failure
    assert everything(store) == before
    assert put(store, draft("new"), draft("old")) == [True, False]


def test_a_nested_transaction_commits_with_the_outer_one(store: Store) -> None:
    put(store, draft("old"))
    with store.transaction():
        with store.transaction():
            disturb(store, ids(store)[0])
        store.record("session", 10)
    assert store.recall("session") == 10
    assert letters(store) == (["reason"], ["r"])
    assert store.totals(Kind.SAMPLE) == Totals(1, 9)


@pytest.fixture(params=["memory", "sqlite"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that keeps three dead letters and three bad payloads."""
    if request.param == "memory":
        yield MemoryStore(quarantine_rows=3, dead_rows=3)
        return
    connection = connect(tmp_path / "store.db", full=False)
    yield SqliteStore(connection, quarantine_rows=3, dead_rows=3)
    connection.close()


def test_dead_letters_and_quarantine_are_bounded_and_the_oldest_make_room(small: Store) -> None:
    put(small, *(draft() for _ in range(5)))
    with small.transaction():
        for number, row in enumerate(small.fresh("hub", 10, 0.0)):
            small.bury(row, str(number), 1)
            small.remove(row.id)
            small.quarantine(Quarantined(topic="t", reason=str(number), size=1, head=b"x", at=1))
    assert letters(small) == (["2", "3", "4"], ["2", "3", "4"])


def test_the_file_keeps_everything_for_the_next_process(tmp_path: Path) -> None:
    connection = connect(tmp_path / "store.db", full=True)
    store = SqliteStore(connection)
    put(store, draft("old", created=12.5), draft("older"))
    with store.transaction():
        disturb(store, ids(store)[1])
    before = everything(store)
    connection.close()
    connection = connect(tmp_path / "store.db", full=True)
    reopened = SqliteStore(connection)
    assert everything(reopened) == before
    assert reopened.latest() == 12.5
    connection.close()


def test_a_full_disk_is_said_and_undone(tmp_path: Path) -> None:
    connection = connect(tmp_path / "store.db", full=False)
    store = SqliteStore(connection)
    put(store, draft("kept"))
    before = everything(store)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull, match="full"), store.transaction():
        store.record("session", 5)
        store.put(draft("big", body=bytes(100_000)))
    assert everything(store) == before
    connection.execute("PRAGMA max_page_count = 100000")
    assert put(store, draft("big", body=bytes(100_000))) == [True]
    assert store.totals(Kind.SAMPLE) == Totals(2, 100_004)
    connection.close()


def test_a_read_only_database_is_said(tmp_path: Path) -> None:
    SqliteStore(connect(tmp_path / "store.db", full=False)).connection.close()
    connection = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    store = SqliteStore(connection)
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreFull, match="readonly"), store.transaction():
        store.put(draft("a"))
    assert ids(store) == []
    connection.close()


def test_ids_that_apps_used_are_remembered_and_forgotten(store: Store) -> None:
    with store.transaction():
        for number in range(5):
            store.remember("side", f"e{number}", bytes([number]), float(number))
        store.remember("other", "e0", b"\xff", 9.0)
        assert store.remembered("side", "e1") == b"\x01"
    with store.transaction():
        store.forget_remembered(1.0, 100)
    assert [store.remembered("side", f"e{number}") for number in (0, 1)] == [None, b"\x01"]
    with store.transaction():
        store.forget_remembered(0.0, 2)
    assert [store.remembered("side", f"e{number}") for number in range(5)] == [None, None, None, None, b"\x04"]
    assert store.remembered("other", "e0") == b"\xff"


def test_documents_are_kept_by_name_and_undone_with_their_transaction(store: Store) -> None:
    assert store.kept("policy/digits") is None
    for body in (b"one", b"two\x00"):
        with store.synced():
            store.keep("policy/digits", body)
        assert store.kept("policy/digits") == body
    with pytest.raises(ZeroDivisionError), store.synced():
        store.keep("policy/digits", b"three")
        store.keep("policy/letters", b"four")
        raise ZeroDivisionError
    assert (store.kept("policy/digits"), store.kept("policy/letters")) == (b"two\x00", None)
    with store.transaction():
        store.keep("policy/letters", b"five")
    assert store.kept("policy/letters") == b"five"


def test_a_database_of_an_earlier_version_gets_its_new_column(tmp_path: Path) -> None:
    connection = connect(tmp_path / "store.db", full=False)
    SqliteStore(connection)
    connection.execute("DROP INDEX outbox_blobs")
    connection.execute("ALTER TABLE outbox DROP COLUMN blob")
    store = SqliteStore(connection)
    put(store, draft("a", blob="ab"))
    assert SqliteStore(connection).blobs() == ["ab"]
    connection.close()
