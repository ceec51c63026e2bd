"""The blobs of samples: fetched from their nodes, then the samples are taken in again, then they are done with."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from cloud_hub.ingest.inference import Needed
from messages.blobs.exchange import Blobs
from messages.blobs.folder import BlobError, BlobRefused
from messages.codec import BadPayload
from messages.shapes import BlobRef

PATIENCE_S: Final = 30.0
"""A fetch ends when nothing has come for so long: what has come stays, and the node will offer the sample again."""

MOST: Final = 1024
"""Fetches that wait or run, and refusals that are remembered."""


_log = logging.getLogger("cloud_hub")


class Uploads:
    """`again` takes a sample in once more. `load` may be called in another thread."""

    def __init__(self, blobs: Blobs, again: Callable[[Needed], None]) -> None:
        self._blobs = blobs
        self._again = again
        self._refused: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, dict[tuple[str, str, str], Needed]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        blobs.fetching.patience_s = PATIENCE_S
        blobs.fetching.kept = lambda: set(self._waiting)

    def load(self, ref: BlobRef) -> bytes | None:
        """A blob's content, if it is there. Raises BadPayload when it was refused."""
        if ref.sha256 in self._refused:
            raise BadPayload(self._refused[ref.sha256])
        file = self._blobs.fetching.folder.find(ref.sha256)
        try:
            return None if file is None else file.read_bytes()
        except OSError:
            return None

    def need(self, needed: Needed) -> None:
        """A sample waits for its blob. It may say so often."""
        ref, sample = needed.sample.x.blob, needed.sample
        assert ref is not None, "nothing else is needed"
        self._blobs.online(needed.node)
        if ref.sha256 not in self._waiting:
            if len(self._waiting) >= MOST:
                return  # it will be offered again
            task = asyncio.create_task(self._fetch(needed.node, ref), name=f"upload {ref.sha256[:12]}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._waiting.setdefault(ref.sha256, {})[needed.node, sample.job, sample.sample_id] = needed

    def spent(self, names: Iterable[str]) -> None:
        """The samples of these blobs are stored."""
        for name in names:
            if name not in self._waiting:
                self._blobs.fetching.folder.drop(name)

    async def close(self) -> None:
        """Fetch no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._blobs.close()

    async def _fetch(self, node: str, ref: BlobRef) -> None:
        try:
            await self._blobs.want(ref, peer=node)
        except BlobRefused as error:
            self._refused[ref.sha256] = str(error)
            if len(self._refused) > MOST:
                self._refused.popitem(last=False)
        except BlobError as error:
            _log.warning("node %s: %s", node, error)
            self._waiting.pop(ref.sha256)
            return
        except asyncio.CancelledError:
            self._waiting.pop(ref.sha256)
            raise
        for needed in self._waiting.pop(ref.sha256).values():
            self._again(needed)
