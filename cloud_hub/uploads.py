"""The blobs of samples: fetched from their nodes, then the samples are taken in again, then they are done with."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from cloud_hub.ingest.inference import Needed
from messages.blobs.exchange import Blobs
from messages.blobs.folder import BlobError, BlobRefused
from messages.codec import BadPayload
from messages.shapes import BlobRef, HardSample

PATIENCE_S: Final = 30.0
"""A fetch ends when nothing has come for so long: what has come stays, and the node will offer the sample again."""

MOST: Final = 1024
"""Fetches that wait or run."""

_log = logging.getLogger("cloud_hub")


class Uploads:
    """`again` takes a sample in once more. `load` may be called in another thread."""

    def __init__(self, blobs: Blobs, again: Callable[[Needed], None]) -> None:
        self._blobs = blobs
        self._again = again
        self._waiting: dict[tuple[str, BlobRef], dict[tuple[str, str], HardSample]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        blobs.fetching.patience_s = PATIENCE_S
        blobs.fetching.kept = lambda: {ref.sha256 for _, ref in self._waiting}

    def load(self, node: str, ref: BlobRef) -> bytes | None:
        """A blob's content, if it is there. Raises BadPayload when it was refused."""
        if reason := self._blobs.fetching.refusal(node, ref):
            raise BadPayload(reason)
        file = self._blobs.fetching.folder.find(ref.sha256)
        try:
            return None if file is None else file.read_bytes()
        except OSError:
            return None

    def need(self, needed: Needed) -> None:
        """A sample waits for its blob. It may say so often."""
        node, sample = needed.node, needed.sample
        assert sample.x.blob is not None, "nothing else is needed"
        key = node, sample.x.blob
        self._blobs.online(node)
        if key not in self._waiting:
            if len(self._waiting) >= MOST:
                return  # it will be offered again
            task = asyncio.create_task(self._fetch(*key), name=f"upload {sample.x.blob.sha256[:12]}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._waiting.setdefault(key, {})[sample.job, sample.sample_id] = sample

    def spent(self, names: Iterable[str]) -> None:
        """The samples of these blobs are stored."""
        waiting = self._blobs.fetching.kept()
        for name in names:
            if name not in waiting:
                self._blobs.fetching.folder.drop(name)

    async def close(self) -> None:
        """Fetch no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._blobs.close()

    async def _fetch(self, node: str, ref: BlobRef) -> None:
        settled = False
        try:
            await self._blobs.want(ref, peer=node)
            settled = True
        except BlobRefused:
            settled = True
        except BlobError as error:
            _log.warning("node %s: %s", node, error)
        finally:
            waiting = self._waiting.pop((node, ref))
            for sample in waiting.values() if settled else ():
                self._again(Needed(node, sample))
