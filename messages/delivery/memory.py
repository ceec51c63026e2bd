"""A store in memory, for the simulator and for tests; it undoes failed transactions like the real one.

`snapshot` and `restore` are what a power cut and a restored backup are to a database.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from msgspec import Struct, structs

from messages.delivery.rows import Draft, Entry, Kind, Quarantined, Row, StreamState, Totals

K = TypeVar("K")
V = TypeVar("V")


class _Held(Struct, frozen=True):
    row: Row
    draft: Draft
    not_before: float = 0.0


class MemoryStore:
    """All that delivery keeps, in dictionaries. A subclass that keeps more writes through `_set`."""

    _absent: Any = object()

    def __init__(self, *, quarantine_rows: int = 1000, dead_rows: int = 10_000) -> None:
        self._quarantine_rows = quarantine_rows
        self._dead_rows = dead_rows
        self._rows: dict[str, dict[int, _Held]] = {}
        self._keys: dict[tuple[str, str, str, str], int] = {}
        self._where: dict[int, str] = {}
        self._streams: dict[tuple[str, str], StreamState] = {}
        self._ledger: dict[Entry, int] = {}
        self._dead: dict[int, tuple[Row, str, int]] = {}
        self._bad: dict[int, Quarantined] = {}
        self._numbers: dict[str, int] = {}
        self._handed: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._documents: dict[str, bytes] = {}
        self._ids: dict[str, int] = {"row": 0, "dead": 0, "bad": 0}
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside, or undo all of it when it raises."""
        self._depth += 1
        try:
            yield
        except BaseException:
            if self._depth == 1:
                self._roll_back()
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._undo.clear()

    def snapshot(self) -> dict[str, Any]:
        """A copy of everything, as a backup or as what a power cut leaves."""
        copies = {name: dict(value) for name, value in vars(self).items() if isinstance(value, dict)}
        copies["_rows"] = {peer: dict(rows) for peer, rows in self._rows.items()}
        return copies

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot."""
        for name, value in snapshot.items():
            copied = {peer: dict(rows) for peer, rows in value.items()} if name == "_rows" else dict(value)
            setattr(self, name, copied)

    # outbox

    def put(self, draft: Draft) -> bool:
        key = (draft.peer, draft.path, draft.job, draft.key)
        if draft.key and key in self._keys:
            return False
        number = self._draw("row")
        row = Row(
            number, draft.peer, draft.path, draft.job, draft.kind, draft.size, draft.created, draft.rank,
            key=draft.key, blob=draft.blob,
        )  # fmt: skip
        self._set(self._of(draft.peer), number, _Held(row, draft))
        self._set(self._where, number, draft.peer)
        if draft.key:
            self._set(self._keys, key, number)
        return True

    def unsent(self, draft: Draft) -> Row | None:
        place = (draft.path, draft.job, draft.slot)
        for held in self._of(draft.peer).values():
            if not held.row.stream and (held.draft.path, held.draft.job, held.draft.slot) == place:
                return held.row
        return None

    def find(self, peer: str, path: str, job: str, key: str) -> Row | None:
        row = self._keys.get((peer, path, job, key))
        return None if row is None else self._held(row).row

    def fresh(self, peer: str, limit: int, now: float) -> Sequence[Row]:
        ready = [h for h in self._of(peer).values() if not h.row.stream and h.not_before <= now]
        return [h.row for h in sorted(ready, key=lambda held: (held.draft.urgency, held.row.id))[:limit]]

    def windowed(self, peer: str) -> Sequence[Row]:
        rows = [held.row for held in self._of(peer).values() if held.row.stream]
        return sorted(rows, key=lambda row: (row.stream, row.seq))

    def enter(self, row: int, stream: str, seq: int) -> None:
        held = self._held(row)
        self._replace(held, row=structs.replace(held.row, stream=stream, seq=seq))

    def park(self, row: int, until: float) -> None:
        held = self._held(row)
        self._replace(held, row=structs.replace(held.row, stream="", seq=-1), not_before=until)

    def body(self, row: int) -> bytes:
        return self._held(row).draft.body

    def remove(self, row: int) -> None:
        held = self._held(row)
        draft = held.draft
        self._set(self._of(draft.peer), row, self._absent)
        self._set(self._where, row, self._absent)
        if draft.key:
            self._set(self._keys, (draft.peer, draft.path, draft.job, draft.key), self._absent)

    def needs(self, blob: str) -> bool:
        return blob in self.blobs()

    def blobs(self) -> Sequence[str]:
        return sorted({h.row.blob for rows in self._rows.values() for h in rows.values() if h.row.blob})

    def worst(self, kind: Kind, limit: int) -> Sequence[Row]:
        return sorted(self._unsent(kind), key=lambda row: (row.rank, row.id))[:limit]

    def aged(self, kind: Kind, before: float, limit: int) -> Sequence[Row]:
        return [row for row in self._unsent(kind) if row.created < before][:limit]

    def totals(self, kind: Kind, peer: str | None = None) -> Totals:
        peers = self._rows if peer is None else (peer,)
        sizes = [h.row.size for name in peers for h in self._of(name).values() if h.row.kind == kind]
        return Totals(len(sizes), sum(sizes))

    def peers(self) -> Sequence[str]:
        return sorted(peer for peer, rows in self._rows.items() if rows)

    def bury(self, row: Row, reason: str, at: int) -> None:
        self._set(self._dead, self._draw("dead"), (row, reason, at))
        self._trim(self._dead, self._dead_rows)

    # inbox

    def load_stream(self, peer: str, stream: str) -> StreamState | None:
        state = self._streams.get((peer, stream))
        return None if state is None else StreamState(state.low, dict(state.seen), state.touched)

    def save_stream(self, peer: str, stream: str, state: StreamState) -> None:
        self._set(self._streams, (peer, stream), StreamState(state.low, dict(state.seen), state.touched))

    def forget_streams(self, peer: str, keep: Sequence[str], before: float) -> None:
        for name, state in list(self._streams.items()):
            if name[0] == peer and name[1] not in keep and state.touched < before:
                self._set(self._streams, name, self._absent)

    def quarantine(self, item: Quarantined) -> None:
        self._set(self._bad, self._draw("bad"), item)
        self._trim(self._bad, self._quarantine_rows)

    # books

    def count(self, entry: Entry, number: int = 1) -> None:
        self._set(self._ledger, entry, self._ledger.get(entry, 0) + number)

    def ledger(self) -> dict[Entry, int]:
        return dict(self._ledger)

    def remember(self, job: str, event_id: str, content: bytes, now: float) -> None:
        self._set(self._handed, (job, event_id), (content, now))

    def remembered(self, job: str, event_id: str) -> bytes | None:
        found = self._handed.get((job, event_id))
        return None if found is None else found[0]

    def forget_remembered(self, before: float, most: int) -> None:
        times = sorted((at for _, at in self._handed.values()), reverse=True)
        last = times[most] if len(times) > most else -1.0
        for key, (_, at) in list(self._handed.items()):
            if at < before or at <= last:
                self._set(self._handed, key, self._absent)

    def recall(self, name: str) -> int:
        return self._numbers.get(name, 0)

    def record(self, name: str, value: int) -> None:
        self._set(self._numbers, name, value)

    # documents

    def keep(self, name: str, body: bytes) -> None:
        self._set(self._documents, name, body)

    def kept(self, name: str) -> bytes | None:
        return self._documents.get(name)

    def synced(self) -> AbstractContextManager[None]:
        return self.transaction()

    # for those who look in from outside

    @property
    def streams(self) -> dict[tuple[str, str], StreamState]:
        """What the inbox remembers, by (peer, stream)."""
        return self._streams

    @property
    def dead_letters(self) -> Sequence[tuple[Row, str]]:
        """The buried rows with their reasons."""
        return [self._dead[number][:2] for number in sorted(self._dead)]

    @property
    def quarantined(self) -> Sequence[Quarantined]:
        """The bad bytes that were kept."""
        return [self._bad[number] for number in sorted(self._bad)]

    def _of(self, peer: str) -> dict[int, _Held]:
        return self._rows.setdefault(peer, {})

    def _held(self, row: int) -> _Held:
        return self._rows[self._where[row]][row]

    def _replace(self, held: _Held, **changes: Any) -> None:
        self._set(self._of(held.draft.peer), held.row.id, structs.replace(held, **changes))

    def _unsent(self, kind: Kind) -> list[Row]:
        rows = (h.row for held in self._rows.values() for h in held.values())
        return sorted((row for row in rows if row.kind == kind and not row.stream), key=lambda row: row.id)

    def _draw(self, counter: str) -> int:
        self._set(self._ids, counter, self._ids[counter] + 1)
        return self._ids[counter]

    def _trim(self, table: dict[int, V], rows: int) -> None:
        while len(table) > rows:
            self._set(table, min(table), self._absent)

    def _set(self, table: dict[K, V], key: K, value: V) -> None:
        if self._depth:
            self._undo.append((table, key, table.get(key, self._absent)))
        if value is self._absent:
            table.pop(key, None)
        else:
            table[key] = value

    def _roll_back(self) -> None:
        for table, key, before in reversed(self._undo):
            if before is self._absent:
                table.pop(key, None)
            else:
                table[key] = before
