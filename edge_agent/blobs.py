"""The agent's blobs: large samples on their way up, and what the hub has for this node. Set up when the first comes."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from msgspec import structs

from edge_agent.config import AgentSettings
from edge_agent.encoding import TOO_LARGE
from messages import channels
from messages.blobs.shapes import INLINE
from messages.bus.protocol import Bus
from messages.channels import HUB
from messages.codec import BadPayload
from messages.delivery.store import Store
from messages.host.clock import Clock
from messages.shapes import BlobRef, Tensor

if TYPE_CHECKING:
    from messages.blobs.exchange import Blobs

NO_ROOM: Final = "no_room"
"""The reason of a sample that was hard and is not sent, because there was no room for it on the disk."""

_CHANNELS: Final = (channels.DOWN_WANT, channels.DOWN_CHUNK)

_log = logging.getLogger("edge_agent")


class NodeBlobs:
    """`folder` is made when it is needed. The hub may have what waits in the outbox, for as long as it waits."""

    def __init__(
        self, folder: Path, settings: AgentSettings, store: Store, clock: Clock, bus: Callable[[], Bus]
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._store = store
        self._clock = clock
        self._bus = bus
        self._blobs: Blobs | None = None
        self._adding = 0
        self._idle: set[str] = set()

    def get(self) -> "Blobs":
        """Both halves of the exchange with the hub."""
        if self._blobs is None:
            from messages.blobs.exchange import Blobs
            from messages.blobs.wire import Wire

            settings = self._settings
            wire = Wire(
                self._bus(), self._clock, namespace=settings.namespace, node=settings.node, form=settings.payload
            )
            self._blobs = Blobs(self._folder, wire, self._clock, settings=settings.blobs, random=Random())
            self._blobs.sending.may_have = lambda _hub, blob: self._store.needs(blob)
            self._blobs.sending.kept = self._store.blobs
        return self._blobs

    async def want(
        self, ref: BlobRef, *, urls: Sequence[str] = (), progress: Callable[[int], None] | None = None
    ) -> Path:
        """A verified file with a blob of the hub: see `Fetching.want`. Raises BlobRefused, NoRoom."""
        return await self.get().want(ref, urls=urls, progress=progress)

    async def aside(self, tensor: Tensor | None, reason: str) -> tuple[Tensor | None, str]:
        """A sample as it goes into the outbox, and why: a large one's bytes lie in a file. None where it cannot go."""
        if tensor is None:
            return None, TOO_LARGE
        if len(tensor.data) <= INLINE:
            return tensor, reason
        from messages.blobs.folder import NoRoom

        self._adding += 1
        try:
            ref = await self.get().put(tensor.data)
        except NoRoom as error:
            _log.error("a large sample stays here: %s", error)
            return None, NO_ROOM
        finally:
            self._adding -= 1
        return structs.replace(tensor, data=b"", blob=ref), reason

    def take(self, path: str, payload: bytes) -> str | None:
        """A message of the hub, if it is about blobs (else None). Returns what is wrong with it, if anything."""
        channel = channels.CHANNELS.get(path)
        if channel not in _CHANNELS:
            return None
        try:
            return self.get().take(HUB, channel.shape, payload)
        except BadPayload as error:
            return str(error)

    def link(self, *, up: bool) -> None:
        """The link to the hub came or went."""
        if self._blobs is not None:
            (self._blobs.online if up else self._blobs.away)()

    def sweep(self) -> None:
        """Forget what no row of the outbox needs any more, and did not need the last time either."""
        if self._adding or not (self._blobs or self._folder.exists()):
            return
        outgoing, needed = self.get().sending.folder, set(self._store.blobs())
        unused = outgoing.names() - needed
        for name in unused & self._idle:
            outgoing.drop(name)
        self._idle = unused

    async def close(self) -> None:
        """End all transfers."""
        if self._blobs is not None:
            await self._blobs.close()
