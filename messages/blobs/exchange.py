"""Both halves of a program's blobs, in its own data folder."""

from pathlib import Path
from random import Random

from messages.blobs.fetching import Fetching
from messages.blobs.folder import Folder
from messages.blobs.sending import Sending
from messages.blobs.settings import BlobSettings
from messages.blobs.shapes import BlobChunk, BlobWant
from messages.blobs.wire import Wire
from messages.codec import decode
from messages.host.clock import Clock
from messages.shapes import Envelope


class Blobs:
    """What a program fetches (`fetching`) and what it lets others fetch (`sending`): see the package."""

    def __init__(self, folder: Path, wire: Wire, clock: Clock, *, settings: BlobSettings, random: Random) -> None:
        incoming = Folder(folder / "in", most=settings.kept)
        outgoing = Folder(folder / "out", most=settings.kept)
        self.fetching = Fetching(incoming, wire, clock, settings, random)
        self.sending = Sending(outgoing, wire, clock, settings)
        self.want = self.fetching.want
        self.add, self.put = self.sending.add, self.sending.put
        self.refer, self.forget = self.sending.refer, self.sending.forget

    def take(self, peer: str, shape: type[Envelope], payload: bytes) -> str:
        """A BlobWant or BlobChunk of a peer came. Returns what is wrong with it, if anything. Raises BadPayload."""
        message = decode(shape, payload)
        if isinstance(message, BlobChunk):
            return self.fetching.came(peer, message)
        if isinstance(message, BlobWant):
            self.sending.asked(peer, message)
        return ""

    def online(self, peer: str = "") -> None:
        """A peer ("": any) may be there again."""
        self.fetching.online(peer)

    def away(self, peer: str = "") -> None:
        """A peer ("": any) cannot be reached."""
        self.fetching.away(peer)
        self.sending.away(peer)

    async def close(self) -> None:
        """End all that runs; what has come is there after the next start."""
        await self.fetching.close()
        await self.sending.close()
