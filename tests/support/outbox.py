"""A sender over a memory store, with the little that stories about it need."""

from random import Random

from messages import channels
from messages.codec import decode, encode_body
from messages.delivery.memory import MemoryStore
from messages.delivery.rows import Draft, Entry, Kind, Outcome
from messages.delivery.sender import Outgoing, Pace, Sender
from messages.shapes import Deferral, Envelope, Receipt, Refusal, Report

PATH = channels.UP_REPORT.path
AT = 1_700_000_000_000


def draft(number: int = 0, **changes: object) -> Draft:
    report = Report(event_id="", timestamp=AT, job="digits", session=1, counters={"number": float(number)})
    fields: dict[str, object] = {"peer": "hub", "path": PATH, "job": "digits", "kind": Kind.SAMPLE, "created": 0.0}
    return Draft(**(fields | {"body": encode_body(report)} | changes))  # type: ignore[arg-type]


def receipt(
    *done: str, refused: tuple[str, ...] = (), later: tuple[str, ...] = (), retry_s: float = 5.0, credit: int = 1000
) -> Receipt:
    return Receipt(
        event_id="r.1", timestamp=AT, done=done, credit=credit,
        refused=tuple(Refusal(event_id=event_id, reason="no good") for event_id in refused),
        later=tuple(Deferral(event_id=event_id, retry_s=retry_s) for event_id in later),
    )  # fmt: skip


def sent(outgoing: list[Outgoing]) -> list[str]:
    """The ids of what was sent."""
    return [envelope(item).event_id for item in outgoing]


def envelope(item: Outgoing) -> Envelope:
    return decode(Envelope, item.payload)


class Outbox:
    """A store, its sender, and a clock that stands still until it is moved."""

    def __init__(self, pace: Pace | None = None, *, stream: str = "s", store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.now = 0.0
        with self.store.transaction():
            self.sender = Sender(self.store, "hub", stream, pace=pace or Pace(window=4), random=Random(1))

    def put(self, number: int, **changes: object) -> None:
        with self.store.transaction():
            for i in range(number):
                self.store.put(draft(i, **changes))
                self.store.count(Entry("hub", "digits", PATH, Outcome.CREATED))
        self.sender.wake()

    def due(self, now: float | None = None) -> list[Outgoing]:
        self.now = self.now if now is None else now
        with self.store.transaction():
            return self.sender.due(self.now, AT)

    def settle(self, given: Receipt, now: float | None = None) -> int:
        self.now = self.now if now is None else now
        with self.store.transaction():
            return self.sender.settle(given, self.now, AT)

    def number(self, outcome: Outcome) -> int:
        """A sum of the ledger."""
        return sum(number for entry, number in self.store.ledger().items() if entry.outcome == outcome)
