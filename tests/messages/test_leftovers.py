"""Dead letters and quarantine: found in pages, shown whole, thrown away, and tried again with books that close."""

import sqlite3
from pathlib import Path
from random import Random

import pytest
from msgspec import json

from messages import channels
from messages.codec import decode
from messages.delivery.ledger import close
from messages.delivery.rows import Kind
from messages.delivery.sender import Pace, Sender
from messages.delivery.sqlite import SqliteStore, connect
from messages.desk import leftovers
from messages.desk.leftovers import Page
from messages.host.folder import FolderError
from messages.shapes import Receipt, Report
from tests.support.leftovers import AT, bury_reports, quarantine


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(connect(tmp_path / "agent.db", full=False))
    bury_reports(store, 3)
    bury_reports(store, 1, job="other", first=3)
    quarantine(store, 2)
    return store


def ids(store: SqliteStore, **page: object) -> list[int]:
    return [row.id for row in leftovers.dead_letters(store.connection, Page(**page))]  # type: ignore[arg-type]


def test_a_list_is_paged_and_filtered(store: SqliteStore) -> None:
    assert ids(store) == [1, 2, 3, 4]
    assert ids(store, limit=2) == [1, 2]
    assert ids(store, limit=2, after=2) == [3, 4]
    assert ids(store, job="other") == [4]
    assert ids(store, since=AT + 61_000) == [3, 4]
    first = leftovers.dead_letters(store.connection, Page(limit=1))[0]
    assert (first.peer, first.path, first.job, first.key, first.reason) == (
        "hub", "up/report", "digits", "key-0", "refused: no good",
    )  # fmt: skip
    (bad,) = leftovers.quarantine(store.connection, Page(after=1))
    assert (bad.topic, bad.reason, bad.size) == ("default/skerry/v1/cam-1/up/sample", "first byte 0xff", 9000)


def test_a_row_is_shown_with_its_content(store: SqliteStore) -> None:
    shown = leftovers.show(store.connection, "dead_letters", 2)
    told = {"session": 1, "counters": {"all": 1.0}, "gauges": {}, "alarms": []}
    assert shown["body"] == {"timestamp": AT, "job": "digits", **told}
    bad = leftovers.show(store.connection, "quarantine", 1)
    assert json.decode(json.encode(bad))["head"] == "/wBbYl0="
    assert r"head: b'\xff\x00[b]'" in leftovers.described(bad)
    with pytest.raises(KeyError):
        leftovers.show(store.connection, "quarantine", 9)


def test_rows_are_dropped_beside_whoever_has_the_database(store: SqliteStore, tmp_path: Path) -> None:
    assert leftovers.drop(tmp_path / "agent.db", "dead_letters", [2, 99]) == 1
    assert ids(store) == [1, 3, 4]
    assert leftovers.drop(tmp_path / "agent.db", "quarantine", None) == 2
    quarantine(store, 1)
    assert [row.id for row in leftovers.quarantine(store.connection, Page())] == [3]


def test_what_is_tried_again_is_delivered_and_the_books_close(store: SqliteStore) -> None:
    assert leftovers.retry(store, [1, 2, 99]) == [1, 2]
    assert ids(store) == [3, 4]
    assert store.totals(Kind.REPORT).rows == 2
    with store.transaction():
        sender = Sender(store, "hub", "s", pace=Pace(), random=Random(1))
        sender.online()
        out = sender.due(0.0, AT)
        assert [decode(Report, item.payload).counters for item in out] == [{"all": 0.0}, {"all": 1.0}]
        sender.settle(Receipt(event_id="r", timestamp=AT, done=("s.0",), credit=9), 1.0, AT)
    books = close(store.ledger(), {}, channels.UP_REPORT.path, waiting=1, node="device-1", at_hub=True)
    assert (books.created, books.refused, books.done, books.unbalanced) == (6, 4, 1, 0)


def test_what_waits_already_is_not_doubled(store: SqliteStore) -> None:
    assert leftovers.retry(store, None) == [1, 2, 3, 4]
    bury_reports_again = "INSERT INTO dead_letters SELECT 9, at, reason, peer, path, job, kind, natural_key, '', body"
    store.connection.execute(f"{bury_reports_again} FROM (SELECT {AT} at, '' reason, * FROM outbox) WHERE id = 5")
    before = store.totals(Kind.REPORT)
    assert leftovers.retry(store, None) == []
    assert (ids(store), store.totals(Kind.REPORT)) == ([9], before)


@pytest.mark.parametrize(("text", "ago"), [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("3d", 259_200_000)])
def test_a_time_may_be_said_as_how_long_ago(text: str, ago: int) -> None:
    assert leftovers.since(text, AT) == AT - ago


def test_a_time_may_be_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    assert leftovers.since("2025-11-24T16:00:00+00:00", AT) == AT
    assert leftovers.since(leftovers.moment(AT), 0) == AT
    with pytest.raises(ValueError, match="'soon': write 90s, 15m, 2h or 3d, or a time like 2026-11-24T08:00"):
        leftovers.since("soon", AT)
    assert leftovers.moment(10**18) == "1000000000000000000"


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"agent\.db: is not there; has this agent ever run\?"):
        leftovers.reading(tmp_path / "agent.db", "agent")
    sqlite3.connect(tmp_path / "agent.db").execute("CREATE TABLE other (x)")
    with pytest.raises(FolderError, match=r"agent\.db: no such table: outbox"):
        leftovers.reading(tmp_path / "agent.db", "agent")
