"""Puts dead letters and bad bytes into a program's store."""

from messages import channels
from messages.codec import encode_body
from messages.delivery.rows import Draft, Entry, Kind, Outcome, Quarantined
from messages.delivery.sqlite import SqliteStore
from messages.shapes import Answer, Classes, Report

AT = 1_764_000_000_000
"""When the first of them came, in ms; each later one came a minute after the one before."""


def bury_reports(store: SqliteStore, number: int, *, job: str = "digits", first: int = 0) -> None:
    """What a hub refused: reports, as an agent sends them."""
    with store.transaction():
        for i in range(first, first + number):
            report = Report(event_id="", timestamp=AT, job=job, session=1, counters={"all": float(i)})
            draft = Draft(peer=channels.HUB, path=channels.UP_REPORT.path, job=job, kind=Kind.REPORT, key=f"key-{i}",
                          created=0.0, body=encode_body(report))  # fmt: skip
            _bury(store, draft, "refused: no good", AT + 60_000 * i)


def bury_answer(store: SqliteStore, node: str = "device-1") -> None:
    """What a node refused: an answer, as a hub sends it."""
    answer = Answer(event_id="", timestamp=AT, job="digits", sample_id="first", value=Classes(probs=(0.0, 1.0)))
    draft = Draft(peer=node, path=channels.DOWN_ANSWER.path, job="digits", kind=Kind.ANSWER, key="first", created=0.0,
                  body=encode_body(answer))  # fmt: skip
    with store.transaction():
        _bury(store, draft, "no receipt after 21 tries", AT)


def quarantine(store: SqliteStore, number: int) -> None:
    """Bytes that are no message."""
    with store.transaction():
        for i in range(number):
            topic, at = f"default/skerry/v1/cam-{i}/up/sample", AT + 60_000 * i
            store.quarantine(Quarantined(topic=topic, reason="first byte 0xff", size=9000, head=b"\xff\x00[b]", at=at))


def _bury(store: SqliteStore, draft: Draft, reason: str, at: int) -> None:
    store.put(draft)
    store.count(Entry(draft.peer, draft.job, draft.path, Outcome.CREATED))
    row = store.find(draft.peer, draft.path, draft.job, draft.key)
    assert row is not None
    store.bury(row, reason, at)
    store.remove(row.id)
    store.count(Entry(draft.peer, draft.job, draft.path, Outcome.REFUSED, reason))
