"""Serving blobs to many peers: whose turn it is, and how much may be under way to all of them together. Pure."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from messages.blobs.shapes import BlobWant, Span

MOST_WAITING: Final = 256
"""Spans that one peer may wait for; what it asks for beyond is passed over, and asked for again."""


class Turn(NamedTuple):
    """Send this span of this digest to this peer now. Without a span: say that there is none for it."""

    peer: str
    sha256: str
    span: Span | None


class Serve:
    """Peers take turns, one span each.

    `may_have` says whether a blob was referenced for a peer. `in_flight` bounds the bytes that the network has not
    taken yet, `rate` the bytes in a second (0: no bound). Times are run time in seconds.
    """

    def __init__(self, may_have: Callable[[str, str], bool], *, in_flight: int, rate: int = 0) -> None:
        self._may_have = may_have
        self._in_flight = in_flight
        self._rate = rate
        self._flight = 0
        self._free_at = 0.0
        self._waiting: OrderedDict[str, OrderedDict[tuple[str, Span], None]] = OrderedDict()
        self._denied: OrderedDict[tuple[str, str], None] = OrderedDict()

    def want(self, peer: str, want: BlobWant) -> None:
        """A peer asks. The same span twice is one."""
        if not self._may_have(peer, want.sha256):
            if len(self._denied) < MOST_WAITING:
                self._denied[peer, want.sha256] = None
            return
        waiting = self._waiting.setdefault(peer, OrderedDict())
        for span in want.spans:
            if len(waiting) < MOST_WAITING:
                waiting[want.sha256, span] = None

    def next(self, now: float) -> Turn | None:
        """The next turn that may be taken now; call `sent` when the network has its bytes."""
        if self._denied:
            (peer, sha256), _ = self._denied.popitem(last=False)
            return Turn(peer, sha256, None)
        if not self._waiting or self._flight >= self._in_flight or now < self._free_at:
            return None
        peer, waiting = self._waiting.popitem(last=False)
        (sha256, span), _ = waiting.popitem(last=False)
        if waiting:
            self._waiting[peer] = waiting
        if self._rate:
            self._free_at = max(now, self._free_at) + span.length / self._rate
        self._flight += span.length
        return Turn(peer, sha256, span)

    def sent(self, length: int) -> None:
        """The network has taken so many bytes, or lost them."""
        self._flight -= length

    def forget(self, peer: str) -> None:
        """A peer is away: what it waited for it will ask for again."""
        self._waiting.pop(peer, None)

    def wake_at(self) -> float | None:
        """Run time at which `next` has a turn that it has not now; None when only `sent` or `want` bring one."""
        return self._free_at if self._waiting and self._flight < self._in_flight else None
