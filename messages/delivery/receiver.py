"""Telling new from seen: one `Receiver` for all peers of a process, pure over the store.

A stream is known by its sender (the node of the topic, never of the payload) and its name. What lies below `low` its
sender has given up; of the rest the receiver remembers each id with a fingerprint of its content. The id is remembered
in the transaction that stores the effect.
"""

from enum import StrEnum

from messages.delivery.rows import StreamState, split_id
from messages.delivery.store import Store
from messages.shapes import Envelope

MAX_SPREAD = 4096
"""How far above `low` an id may lie. No window is that large; it bounds what a broken sender can make us remember."""

MAX_CACHED = 4096
"""Streams held in memory; the others are read from the store when they speak."""


class Verdict(StrEnum):
    """What to do with a message: apply it; only say `done` again; refuse it: its id or content is impossible.

    PASSED lies below `low`: its sender once gave the id up. Mostly that was a receipt, but a sender that was restored
    from an old backup may not know that it had parked or buried the row, so the effect's natural key must decide.
    """

    NEW = "new"
    SEEN = "seen"
    PASSED = "passed"
    CONFLICT = "id was used before with other content"
    TOO_FAR = "id lies too far above the oldest without a receipt"


class Receiver:
    """What was received from whom. Call `flush` before the transaction ends, and `reload` when one fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._streams: dict[tuple[str, str], StreamState] = {}
        self._dirty: set[tuple[str, str]] = set()

    def judge(self, peer: str, envelope: Envelope, content: bytes) -> Verdict:
        """Is this message new? `content` is its fingerprint.

        Raises ValueError for an id that is not stream.seq,
        or that lies below its own message's `low`, which would settle what never came.
        """
        stream, seq = split_id(envelope.event_id)
        if seq < envelope.low:
            raise ValueError(f"low {envelope.low} lies above the message's own id {envelope.event_id}")
        state = self._state(peer, stream)
        if envelope.low > state.low:
            self._raise_low(peer, stream, state, envelope.low)
        if seq < state.low:
            return Verdict.PASSED
        if seq - state.low > MAX_SPREAD:
            return Verdict.TOO_FAR
        before = state.seen.get(seq)
        if before is None:
            return Verdict.NEW
        return Verdict.SEEN if before == content else Verdict.CONFLICT

    def keep(self, peer: str, envelope: Envelope, content: bytes) -> None:
        """Remember a message that was settled: stored, or refused for good."""
        stream, seq = split_id(envelope.event_id)
        state = self._state(peer, stream)
        if seq >= state.low:
            state.seen[seq] = content
            self._dirty.add((peer, stream))

    def flush(self, now: float) -> None:
        """Write what changed since the last flush. `now` is run time in seconds."""
        for peer, stream in self._dirty:
            state = self._streams[peer, stream]
            state.touched = now
            self._store.save_stream(peer, stream, state)
        self._dirty.clear()
        while len(self._streams) > MAX_CACHED:
            del self._streams[next(iter(self._streams))]

    def reload(self) -> None:
        """Forget what is in memory: the transaction that would have stored it failed."""
        self._streams.clear()
        self._dirty.clear()

    def forget(self, peer: str, keep: tuple[str, ...], before: float) -> None:
        """Forget the peer's streams that have no rows left (`keep` still have) and were quiet since `before`."""
        self._store.forget_streams(peer, keep, before)
        for name in [name for name in self._streams if name[0] == peer and name[1] not in keep]:
            if self._streams[name].touched < before and name not in self._dirty:
                del self._streams[name]

    def _state(self, peer: str, stream: str) -> StreamState:
        state = self._streams.get((peer, stream))
        if state is None:
            state = self._store.load_stream(peer, stream) or StreamState()
            self._streams[peer, stream] = state
        return state

    def _raise_low(self, peer: str, stream: str, state: StreamState, low: int) -> None:
        state.low = low
        for seq in [seq for seq in state.seen if seq < low]:
            del state.seen[seq]
        self._dirty.add((peer, stream))
