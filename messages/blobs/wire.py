"""How wants and chunks leave: as messages of their channels, on the program's own bus."""

from collections.abc import Sequence

from messages import channels
from messages.blobs.shapes import BlobChunk, BlobWant, Span
from messages.bus.protocol import Bus, NotConnected, PublishDenied
from messages.codec import Format, encode
from messages.host.clock import Clock


class Wire:
    """On a bus: from a node to its hub (`node` is its name), or from the hub to its nodes (`node` is empty)."""

    def __init__(
        self, bus: Bus, clock: Clock, *, namespace: str, node: str = "", form: Format = Format.MSGPACK
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._namespace = namespace
        self._node = node
        self._form = form
        self._number = 0
        self._want = channels.UP_WANT if node else channels.DOWN_WANT
        self._chunk = channels.UP_CHUNK if node else channels.DOWN_CHUNK

    def want(self, peer: str, sha256: str, spans: Sequence[Span]) -> None:
        """Ask a peer for bytes, and never know whether it heard."""
        message = BlobWant(event_id=self._draw(), timestamp=self._clock.at(), sha256=sha256, spans=tuple(spans))
        try:
            self._bus.post(self._want.topic(self._namespace, self._node or peer), encode(message, self._form))
        except NotConnected:
            return  # it is asked for again

    async def chunk(self, peer: str, sha256: str, offset: int, data: bytes) -> None:
        """Give a peer bytes, or say with none that it gets none; returns when the network has them or lost them."""
        error = "" if data else "no such blob for you here"
        message = BlobChunk(
            event_id=self._draw(), timestamp=self._clock.at(), sha256=sha256, offset=offset, data=data, error=error
        )
        try:
            await self._bus.publish(self._chunk.topic(self._namespace, self._node or peer), encode(message, self._form))
        except (NotConnected, PublishDenied):
            return  # it is asked for again

    def _draw(self) -> str:
        self._number += 1
        return f"b.{self._number}"
