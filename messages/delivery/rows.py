"""What the outbox holds: drafts that ask to be sent, rows that wait, and the reasons for which a row leaves."""

from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """The class of a row: which bounds apply to it, and how urgent it is (in the order written here)."""

    CONTROL = "control"
    ANSWER = "answer"
    REPORT = "report"
    AUDIT = "audit"
    SAMPLE = "sample"


URGENCY = {kind: place for place, kind in enumerate(Kind)}
"""Smaller goes first: fresh control overtakes old samples."""


class Draft(Struct, frozen=True, kw_only=True):
    """A message that asks for a place in the outbox.

    `key` is its natural key below (peer, path, job): a second draft with the same key is not stored. `slot` names what
    it says the latest of: it replaces an unsent row of the same slot. Empty means none. `created` is run time in
    seconds (see `Clock`), `body` is what `codec.encode_body` wrote. `blob` is the digest of content that the peer will
    fetch, of `beside` bytes.
    """

    peer: str
    path: str
    job: str
    kind: Kind
    body: bytes
    created: float
    key: str = ""
    slot: str = ""
    rank: float = 0.0
    blob: str = ""
    beside: int = 0

    @property
    def size(self) -> int:
        """What it takes of the room for its kind."""
        return len(self.body) + self.beside

    @property
    def urgency(self) -> int:
        """Smaller goes first: what needs a blob lets others pass."""
        return URGENCY[self.kind] + len(Kind) * bool(self.blob)


class Row(Struct, frozen=True):
    """A row of the outbox without its body. `stream` is empty until the row first enters the send window.

    `size` is that of the body and of the `blob` that goes with it.
    """

    id: int
    peer: str
    path: str
    job: str
    kind: Kind
    size: int
    created: float
    rank: float
    stream: str = ""
    seq: int = -1
    key: str = ""
    blob: str = ""

    @property
    def event_id(self) -> str:
        """The id that receipts name."""
        return f"{self.stream}.{self.seq}"


def split_id(event_id: str) -> tuple[str, int]:
    """Take `"{stream}.{seq}"` apart. Raises ValueError when it is not one."""
    stream, _, seq = event_id.rpartition(".")
    if not stream or not seq.isascii() or not seq.isdigit() or len(seq) > 18 or len(stream) > 64:
        raise ValueError(f"event_id {event_id[:100]!r}: not stream.seq")
    return stream, int(seq)


class Outcome(StrEnum):
    """How a message ends; the ledger counts them.

    At the sender: created = done + refused + dropped + still waiting. At the receiver: stored, known (its natural key
    was there already), refused. Quarantined counts bytes that had no readable id, so no sender waits for them.
    """

    CREATED = "created"
    DONE = "done"
    REFUSED = "refused"
    DROPPED = "dropped"
    STORED = "stored"
    KNOWN = "known"
    CONFLICT = "conflict"
    QUARANTINED = "quarantined"


class Entry(Struct, frozen=True):
    """A line of the ledger: who (the peer), which job and channel path, how it ended and why."""

    peer: str
    job: str
    path: str
    outcome: Outcome
    reason: str = ""


class StreamState(Struct):
    """What a receiver remembers of one stream: everything below `low` is settled, `seen` maps the rest to contents."""

    low: int = 0
    seen: dict[int, bytes] = {}
    touched: float = 0.0


class Totals(Struct, frozen=True):
    """How much waits: rows and the bytes of their bodies."""

    rows: int = 0
    bytes: int = 0


class Quarantined(Struct, frozen=True, kw_only=True):
    """Bytes from outside that could not be used: the topic, the reason, and the first bytes to look at."""

    topic: str
    reason: str
    size: int
    head: bytes
    at: int
