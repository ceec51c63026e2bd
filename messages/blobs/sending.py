"""The half of a program's blobs that others fetch: taken in, referenced for those who may have them, and served."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from messages.blobs.folder import Folder
from messages.blobs.serve import Serve, Turn
from messages.blobs.settings import BlobSettings
from messages.blobs.shapes import BlobWant
from messages.blobs.wire import Wire
from messages.host.clock import Clock
from messages.shapes import BlobRef

T = TypeVar("T")


class Sending:
    """Serves from `folder`. Beside what `refer` says, `may_have` says of a peer and a digest whether it may have it.

    `kept` gives the digests of blobs for which `refer` was not called, and which must stay when others need room.
    """

    def __init__(self, folder: Folder, wire: Wire, clock: Clock, settings: BlobSettings) -> None:
        self.folder = folder
        self.may_have: Callable[[str, str], bool] = _nothing
        self.kept: Callable[[], Collection[str]] = frozenset
        self._wire = wire
        self._clock = clock
        self._serve = Serve(self._allowed, in_flight=settings.in_flight, rate=settings.rate)
        self._references: dict[str, set[str]] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, source: Path) -> BlobRef:
        """Take a file's content in. Raises OSError, NoRoom."""
        return await thorough(self.folder.add, source, self._kept())

    async def put(self, data: bytes) -> BlobRef:
        """Take bytes in. Raises NoRoom."""
        return await thorough(self.folder.put, data, self._kept())

    def refer(self, peer: str, ref: BlobRef) -> None:
        """A peer may have a blob from now on. It is not written down: who says so says it again after a start."""
        self._references.setdefault(ref.sha256, set()).add(peer)

    def forget(self, peer: str, ref: BlobRef) -> None:
        """A peer has no need of a blob any more; when nobody has, it goes."""
        peers = self._references.get(ref.sha256, set())
        peers.discard(peer)
        if not peers:
            self._references.pop(ref.sha256, None)
            self.folder.drop(ref.sha256)

    def asked(self, peer: str, want: BlobWant) -> None:
        """A peer wants bytes."""
        self._serve.want(peer, want)
        self._wake.set()
        if not self._tasks:
            self._start(self._run(), "serve blobs")

    def away(self, peer: str) -> None:
        """A peer is not there: it will ask again."""
        self._serve.forget(peer)

    async def close(self) -> None:
        """Send no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _allowed(self, peer: str, name: str) -> bool:
        blob = self.folder.blob_of(name)
        return peer in self._references.get(blob, ()) or self.may_have(peer, blob)

    def _kept(self) -> set[str]:
        return {*self._references, *self.kept()}

    async def _run(self) -> None:
        while True:
            turn = self._serve.next(self._clock.now())
            if turn is not None:
                self._start(self._send(turn), f"chunk for {turn.peer}")
                continue
            self._wake.clear()
            wake = self._serve.wake_at()
            await rest(self._wake, inf if wake is None else wake - self._clock.now())

    async def _send(self, turn: Turn) -> None:
        span = turn.span
        try:
            data = self.folder.read(turn.sha256, span.offset, span.length) if span is not None else None
            await self._wire.chunk(turn.peer, turn.sha256, 0 if span is None else span.offset, data or b"")
        finally:
            self._serve.sent(0 if span is None else span.length)
            self._wake.set()

    def _start(self, steps: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(steps, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def rest(wake: asyncio.Event, seconds: float) -> None:
    """Until something happens, or for so long."""
    try:
        async with asyncio.timeout(None if seconds == inf else max(0.0, seconds)):
            await wake.wait()
    except TimeoutError:
        return


async def thorough(function: Callable[..., T], *arguments: Any) -> T:
    """Run something in a thread, and wait for its end though cancelled: what comes next must not meet it."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


def _nothing(_peer: str, _blob: str) -> bool:
    return False
