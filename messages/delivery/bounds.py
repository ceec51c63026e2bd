"""Keeping the outbox small: caps by kind, the least worth goes first, and every drop is counted with its reason.

Only rows that were never sent are dropped: what is in flight is few and may already have arrived.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from messages.delivery.rows import Draft, Entry, Kind, Outcome, Row
from messages.delivery.store import Store

_AT_ONCE = 64


class Caps(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of one kind may wait: rows, bytes of bodies, and age in seconds of run time. 0 means no bound."""

    rows: int = 0
    bytes: int = 0
    age_s: float = 0.0


class Bounds:
    """Puts drafts into the outbox within the caps of their kind; a kind without caps is never dropped."""

    def __init__(self, store: Store, caps: Mapping[Kind, Caps]) -> None:
        self._store = store
        self._caps = caps
        self._ended: list[tuple[Row, str]] = []

    def take_ended(self) -> list[tuple[Row, str]]:
        """The rows that were dropped since the last call, with the reasons; call it after the commit."""
        ended, self._ended = self._ended, []
        return ended

    def reload(self) -> None:
        """A transaction failed: what was dropped in it is still there."""
        self._ended.clear()

    def put(self, draft: Draft) -> bool:
        """Store a draft and make room for it. False when its natural key waits already (then nothing is counted)."""
        superseded = self._store.unsent(draft) if draft.slot else None
        if not self._store.put(draft):
            return False
        if superseded is not None:
            self._drop(superseded, "superseded")
        self._store.count(Entry(draft.peer, draft.job, draft.path, Outcome.CREATED))
        caps = self._caps.get(draft.kind)
        if caps is not None:
            self._shrink(draft.kind, caps)
        return True

    def expire(self, now: float) -> int:
        """Drop what is too old; returns how many rows went. `now` is run time in seconds."""
        dropped = 0
        for kind, caps in self._caps.items():
            if caps.age_s > 0.0:
                for row in self._store.aged(kind, now - caps.age_s, _AT_ONCE):
                    self._drop(row, "age")
                    dropped += 1
        return dropped

    def _shrink(self, kind: Kind, caps: Caps) -> None:
        reason = self._excess(kind, caps)
        if not reason:
            return
        for row in self._worst(kind):
            self._drop(row, reason)
            reason = self._excess(kind, caps)
            if not reason:
                return

    def _worst(self, kind: Kind) -> Iterator[Row]:
        while rows := self._store.worst(kind, _AT_ONCE):
            yield from rows

    def _excess(self, kind: Kind, caps: Caps) -> str:
        totals = self._store.totals(kind)
        if 0 < caps.rows < totals.rows:
            return "rows"
        return "bytes" if 0 < caps.bytes < totals.bytes else ""

    def _drop(self, row: Row, reason: str) -> None:
        self._store.remove(row.id)
        self._store.count(Entry(row.peer, row.job, row.path, Outcome.DROPPED, reason))
        self._ended.append((row, reason))
