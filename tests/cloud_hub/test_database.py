"""The hub's database: samples once, the waiting queue, caps, and one transaction with what delivery keeps."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Barrier

import pytest
from msgspec import structs

from cloud_hub.store.database import HubDatabase
from cloud_hub.store.folder import opened, reading, transaction, writing
from cloud_hub.store.protocol import Added, NodeRecord, SampleTotals, Verdict, WantedPolicy
from cloud_hub.store.wanted import WantedTables
from messages.delivery.rows import Entry, Outcome
from messages.delivery.sqlite import connect
from messages.delivery.store import StoreFull
from messages.host.folder import FolderError, locked
from messages.shapes import Classes, HardSample, NodeStatus, Report, Tensor
from tests.support.messages import SENT

SURE = Classes(probs=(0.25, 0.75))
LINE = Entry("device-1", "digits", "up/sample", Outcome.STORED)


def sample(sample_id: str, data: bytes = b"1234", job: str = "digits") -> HardSample:
    x = Tensor(dtype="uint8", shape=(2, 2), data=data)
    return HardSample(event_id="s.1", timestamp=5, job=job, sample_id=sample_id, x=x, edge=SURE, reason="hard")


def add(database: HubDatabase, sample_id: str, *, digest: bytes = b"a", node: str = "device-1", at: int = 7) -> Added:
    with database.transaction():
        return database.add_sample(node, sample(sample_id), digest, at)


def answer(database: HubDatabase, row: int) -> bool:
    with database.transaction():
        return database.answer(Verdict(row, SURE), "model", 9)


@pytest.fixture
def database(tmp_path: Path):
    with opened(tmp_path, quarantine_rows=10, dead_rows=10) as found:
        yield found


def test_a_sample_is_stored_once_for_its_node_and_job(database: HubDatabase) -> None:
    assert add(database, "1") is Added.STORED
    assert add(database, "1") is Added.KNOWN
    assert add(database, "1", digest=b"other") is Added.CONFLICT
    assert add(database, "1", node="device-2") is Added.STORED
    assert database.sample_totals("digits") == SampleTotals(rows=2, waiting=2, bytes=8)


def test_what_waits_comes_oldest_first_with_its_tensor_and_without_what_is_in_hands(database: HubDatabase) -> None:
    for name in "abc":
        add(database, name)
    first, second, third = database.waiting("digits", 10)
    assert (first.sample_id, first.node, first.received_at) == ("a", "device-1", 7)
    assert first.x == Tensor(dtype="uint8", shape=(2, 2), data=b"1234")
    assert database.waiting("digits", 1, skip=(first.row,)) == [second]
    assert database.samples([third.row, first.row, 99]) == [first, third]
    assert database.waiting("other", 10) == []


def test_an_answer_is_kept_once_and_ends_the_waiting(database: HubDatabase) -> None:
    add(database, "a")
    (waiting,) = database.waiting("digits", 10)
    assert answer(database, waiting.row)
    assert not answer(database, waiting.row)
    assert database.waiting("digits", 10) == []
    assert database.samples([waiting.row]) == []
    assert database.answered("device-1", "digits", "a") == (Verdict(waiting.row, SURE), "model")
    assert database.answered("device-1", "digits", "b") is None
    assert database.sample_totals("digits") == SampleTotals(rows=1, waiting=0, bytes=4)


def test_an_error_is_an_answer_too(database: HubDatabase) -> None:
    add(database, "a")
    (waiting,) = database.waiting("digits", 10)
    with database.transaction():
        assert database.answer(Verdict(waiting.row, None, "too dark"), "model", 9)
    assert database.answered("device-1", "digits", "a") == (Verdict(waiting.row, None, "too dark"), "model")


def test_only_answered_samples_make_room_the_oldest_first(database: HubDatabase) -> None:
    for name in "abc":
        add(database, name)
    with database.transaction():
        assert database.drop_older(0.0, 10.0, 5) == 0
    add(database, "d")
    a, b, c, d = database.waiting("digits", 10)
    for row in (b.row, c.row, d.row):
        answer(database, row)
    with database.transaction():
        assert database.drop_samples("digits", 1) == 1
        assert database.drop_older(10.0, 10.0, 5) == 0
        assert database.drop_older(10.1, 10.0, 5) == 1
        assert database.drop_older(10.2, 10.0, 5) == 0
    assert database.latest() == 10.2
    assert database.answered("device-1", "digits", "b") is None
    assert database.answered("device-1", "digits", "d") is not None
    assert database.waiting("digits", 10) == [a]
    assert database.sample_totals("digits") == SampleTotals(rows=2, waiting=1, bytes=8)


def test_a_failed_transaction_leaves_neither_rows_nor_counts(database: HubDatabase) -> None:
    add(database, "a")
    with pytest.raises(RuntimeError), database.transaction():
        database.add_sample("device-1", sample("b"), b"x", 7)
        database.answer(Verdict(1, SURE), "model", 9)
        database.count(LINE)
        raise RuntimeError
    assert database.sample_totals("digits") == SampleTotals(rows=1, waiting=1, bytes=4)
    assert [item.sample_id for item in database.waiting("digits", 10)] == ["a"]
    assert database.ledger() == {}


def test_samples_and_the_books_are_committed_together(database: HubDatabase, tmp_path: Path) -> None:
    with database.transaction():
        database.add_sample("device-1", sample("a"), b"x", 7)
        database.count(LINE)
    with closing(reading(tmp_path)) as reader:
        assert reader.execute("SELECT count(*) FROM samples").fetchone() == (1,)
        assert reader.execute("SELECT number FROM ledger").fetchone() == (1,)


def test_a_full_disk_is_told_and_keeps_what_was_there(database: HubDatabase) -> None:
    add(database, "a")
    pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
    database.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFull), database.transaction():
        for number in range(1000):
            database.add_sample("device-1", sample(f"n{number}", b"x" * 500), b"x", 7)
    assert database.sample_totals("digits") == SampleTotals(rows=1, waiting=1, bytes=4)


def test_all_is_there_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path, quarantine_rows=10, dead_rows=10) as database:
        add(database, "a")
        add(database, "b")
        answer(database, database.waiting("digits", 1)[0].row)
        with database.transaction():
            database.save_job("digits", b"{}")
    with opened(tmp_path, quarantine_rows=10, dead_rows=10) as database:
        assert database.sample_totals("digits") == SampleTotals(rows=2, waiting=1, bytes=8)
        assert database.load_job("digits") == b"{}"
        assert database.load_job("other") is None


def test_nodes_and_their_last_status(database: HubDatabase) -> None:
    status = SENT["NodeStatus"]
    assert isinstance(status, NodeStatus)
    records = [NodeRecord(name, status, 5, online=True) for name in ("device-2", "device-1")]
    with database.transaction():
        for record in records:
            database.save_node(record)
        database.save_node(structs.replace(records[0], online=False))
    assert database.node("device-1") == records[1]
    assert database.node("device-3") is None
    assert database.nodes() == [records[1], structs.replace(records[0], online=False)]


def test_the_latest_report_of_a_job_wins_in_whatever_order_they_come(database: HubDatabase) -> None:
    """By session and counters: a device's clock may jump back."""

    def report(session: int, number: int) -> Report:
        return Report(event_id="s.1", timestamp=9 - number, job="digits", session=session, counters={"all": number})

    with database.transaction():
        for session, number in ((1, 5), (2, 3), (1, 9), (2, 2)):
            database.save_report("device-1", report(session, number), 1)
    assert database.reports() == [("device-1", report(2, 3))]


def test_the_audit_is_bounded(database: HubDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.store.database.EVENT_ROWS", 20)
    with database.transaction():
        for number in range(512):
            database.log_event("digits", number, b"{}")
    assert database.connection.execute("SELECT count(*), max(at) FROM job_events").fetchone() == (20, 511)


def test_a_second_hub_is_kept_out(database: HubDatabase, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="another hub is using it"), opened(tmp_path, quarantine_rows=1, dead_rows=1):
        pass


def test_a_hub_waits_for_a_command_that_has_the_folder_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as command:
        command.enter_context(locked(tmp_path, "hub"))
        monkeypatch.setattr("messages.host.folder.time.sleep", lambda _: command.close())
        with opened(tmp_path) as database:
            assert database.nodes() == []


def test_a_hub_and_commands_that_begin_at_the_same_moment_all_find_their_tables(tmp_path: Path) -> None:
    together = Barrier(4)

    def command(number: int, folder: Path) -> None:
        together.wait()
        with writing(folder, make=True) as connection, transaction(connection):
            WantedTables(connection).save_policy(WantedPolicy(f"job-{number}", "", 1, "", b"", 0))

    def hub(folder: Path) -> None:
        together.wait()
        with opened(folder) as database:
            assert database.policy_mark() >= 0

    with ThreadPoolExecutor(4) as pool:
        for number in range(10):
            folder = tmp_path / str(number)
            for done in [pool.submit(hub, folder), *(pool.submit(command, job, folder) for job in range(3))]:
                done.result()
            with opened(folder) as database:
                assert len(database.policies()) == 3


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path, quarantine_rows=1, dead_rows=1) as database:
        database.connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('hub', '0099_later', '')"
        )
    with pytest.raises(FolderError, match="0099_later"), opened(tmp_path, quarantine_rows=1, dead_rows=1):
        pass


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"no database" * 1000)
    with (
        pytest.raises(FolderError, match=r"hub\.db: file is not a database"),
        opened(tmp_path, quarantine_rows=1, dead_rows=1),
    ):
        pass


def test_reading_changes_nothing_and_needs_a_database(database: HubDatabase, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="has this hub ever run"):
        reading(tmp_path / "elsewhere")
    with closing(reading(tmp_path)) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM samples")


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "hub.db", full=True)) as connection:
        HubDatabase(connection)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
