"""What delivery needs of a database, as small protocols. `tests/contract/test_store.py` is what both stores must pass.

All calls happen inside `transaction()`; what it holds is committed together or not at all. Ledger counts join the
transaction they are made in.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from messages.delivery.rows import Draft, Entry, Kind, Quarantined, Row, StreamState, Totals


class StoreFull(Exception):
    """The database cannot grow: the disk is full or read-only. Nothing of the transaction was kept."""


class Outbox(Protocol):
    """Rows that wait for a receipt, for all peers of this process."""

    def put(self, draft: Draft) -> bool:
        """Store a draft; False when its natural key waits already."""

    def unsent(self, draft: Draft) -> Row | None:
        """The row of the draft's slot that was never sent, which the draft supersedes."""

    def find(self, peer: str, path: str, job: str, key: str) -> Row | None:
        """The row that waits under a natural key."""

    def fresh(self, peer: str, limit: int, now: float) -> Sequence[Row]:
        """Rows without an id that may be sent now: most urgent kind first, those with a blob last, then oldest."""

    def windowed(self, peer: str) -> Sequence[Row]:
        """Rows that have an id, by stream and sequence number."""

    def enter(self, row: int, stream: str, seq: int) -> None:
        """Give a row its id."""

    def park(self, row: int, until: float) -> None:
        """Take a row out of the window until `until` (run time): it gets another id then."""

    def body(self, row: int) -> bytes:
        """The body of one row."""

    def remove(self, row: int) -> None:
        """Forget a row: it is settled, or dropped by a bound."""

    def needs(self, blob: str) -> bool:
        """Whether a row waits that needs the blob with this digest."""

    def blobs(self) -> Sequence[str]:
        """The digests of all blobs that waiting rows need."""

    def worst(self, kind: Kind, limit: int) -> Sequence[Row]:
        """Unsent rows of a kind, lowest rank first, then oldest; parked ones count as unsent."""

    def aged(self, kind: Kind, before: float, limit: int) -> Sequence[Row]:
        """Unsent rows of a kind that were created before `before` (run time)."""

    def totals(self, kind: Kind, peer: str | None = None) -> Totals:
        """What waits of one kind, for one peer or all."""

    def peers(self) -> Sequence[str]:
        """The peers for whom rows wait."""

    def bury(self, row: Row, reason: str, at: int) -> None:
        """Move a row to the dead letters, where a person sees it."""


class Inbox(Protocol):
    """What this process has received, by sender and stream."""

    def load_stream(self, peer: str, stream: str) -> StreamState | None:
        """What is remembered of a stream; None for one never seen or forgotten."""

    def save_stream(self, peer: str, stream: str, state: StreamState) -> None:
        """Remember a stream."""

    def forget_streams(self, peer: str, keep: Sequence[str], before: float) -> None:
        """Forget the peer's streams that are not in `keep` and were last touched before `before` (run time)."""

    def quarantine(self, item: Quarantined) -> None:
        """Keep bad bytes for a person to look at; the oldest make room."""


class Books(Protocol):
    """The ledger."""

    def count(self, entry: Entry, number: int = 1) -> None:
        """Add to a line."""

    def ledger(self) -> dict[Entry, int]:
        """All lines, those of the open transaction included."""


class Numbers(Protocol):
    """Single numbers that outlive the process, such as the last session."""

    def recall(self, name: str) -> int:
        """The number last recorded; 0 when there is none."""

    def record(self, name: str, value: int) -> None:
        """Keep a number."""


class Handed(Protocol):
    """The ids under which other apps handed something in, by job."""

    def remember(self, job: str, event_id: str, content: bytes, now: float) -> None:
        """Keep an id with its content's fingerprint, at this run time."""

    def remembered(self, job: str, event_id: str) -> bytes | None:
        """The fingerprint that an id came with; None for one never seen or forgotten."""

    def forget_remembered(self, before: float, most: int) -> None:
        """Forget the ids from before `before` (run time), and the oldest beyond `most`."""


class Documents(Protocol):
    """Whole documents by name, such as what a node should run."""

    def keep(self, name: str, body: bytes) -> None:
        """Store a document, or replace it."""

    def kept(self, name: str) -> bytes | None:
        """A document; None when there is none."""

    def synced(self) -> AbstractContextManager[None]:
        """A transaction that survives a power cut, however the others are kept. Never inside another."""


class Store(Outbox, Inbox, Books, Numbers, Handed, Documents, Protocol):
    """All that delivery keeps."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what happens inside, or undo all of it when it raises. Raises StoreFull when there is no room."""
