"""The half of a program's blobs that it fetches: one after the other from each peer, into files."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Final

from messages.blobs.fetch import BadChunk, Fetch, Stage
from messages.blobs.folder import BlobError, BlobRefused, Folder, NoRoom
from messages.blobs.sending import rest, thorough
from messages.blobs.settings import BlobSettings
from messages.blobs.shapes import BlobChunk
from messages.blobs.units import BadList
from messages.blobs.window import Window
from messages.blobs.wire import Wire
from messages.channels import HUB
from messages.host.clock import Clock
from messages.shapes import BlobRef

AT_ONCE: Final = 16
"""Peers from which blobs are fetched at the same time; the others wait."""

QUIET_S: Final = 5.0
"""A peer from which nothing came for so long is asked anew when it shows itself."""

REMEMBERED: Final = 1024
"""Refusals that are kept, so that what is wrong is fetched once."""

Progress = Callable[[int], None]
"""Is told how many bytes are still missing."""

_log = logging.getLogger("messages.blobs")


@dataclass(slots=True)
class _Line:
    """What is fetched from one peer: one blob after the other, so that the first is there soon."""

    peer: str
    window: Window
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    fetch: Fetch | None = None
    up: bool = True
    heard: float = 0.0
    full: NoRoom | None = None
    told: Progress = lambda _missing: None


@dataclass(slots=True)
class _Job:
    key: tuple[str, BlobRef]
    task: asyncio.Task[Path]
    waiters: int = 0


class Fetching:
    """Fetches into `folder`. `kept` gives the digests of the blobs that must stay when others need room."""

    def __init__(self, folder: Folder, wire: Wire, clock: Clock, settings: BlobSettings, random: Random) -> None:
        self.folder = folder
        self.kept: Callable[[], Collection[str]] = frozenset
        self.patience_s = inf
        """A fetch for which nothing comes for so long ends with a BlobError."""
        self._wire = wire
        self._clock = clock
        self._settings = settings
        self._random = random
        self._lines: dict[str, _Line] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._jobs: dict[str, _Job] = {}
        self._refused: OrderedDict[tuple[str, BlobRef], str] = OrderedDict()

    async def want(
        self, ref: BlobRef, *, peer: str = HUB, urls: Sequence[str] = (), progress: Progress | None = None
    ) -> Path:
        """A verified file with a blob's content, fetched unless it is here. Waits as long as the caller does.

        `urls` (https) are tried first. When the last caller is cancelled, the fetch is too, and what has come stays for
        the next one. Raises BlobRefused for what is not what its reference says, and NoRoom.
        """
        while (job := self._jobs.get(ref.sha256)) is not None and job.key != (peer, ref):
            await asyncio.wait({job.task})  # somebody wants it from another, or with another list
        found = self.folder.find(ref.sha256)
        if found is not None:
            return found
        if reason := self.refusal(peer, ref):
            raise BlobRefused(reason)
        if job is None:
            steps = self._in_turn(ref, self._line(peer), urls, progress)
            task = asyncio.create_task(steps, name=f"fetch blob {ref.sha256[:12]}")
            job = self._jobs[ref.sha256] = _Job((peer, ref), task)
        job.waiters += 1
        try:
            return await asyncio.shield(job.task)
        finally:
            job.waiters -= 1
            if not job.waiters:
                job.task.cancel()
                self._jobs.pop(ref.sha256)

    def refusal(self, source: str, ref: BlobRef) -> str:
        """Why a blob is not fetched (again) from a peer or URL; empty when it would be."""
        return self._refused.get((source, ref), "")

    def online(self, peer: str = "") -> None:
        """A peer ("": any) may be there again: what does not come is asked for at once."""
        for line in self._lines.values():
            quiet = not line.up or self._clock.now() - line.heard > QUIET_S
            if peer in ("", line.peer) and quiet:
                line.up = True
                if line.fetch is not None:
                    line.fetch.stop()
                line.wake.set()

    def away(self, peer: str = "") -> None:
        """A peer ("": any) cannot be reached: nothing is asked for, what has come stays."""
        for line in self._lines.values():
            if peer in ("", line.peer):
                line.up = False
                if line.fetch is not None:
                    line.fetch.stop()

    def came(self, peer: str, chunk: BlobChunk) -> str:
        """Bytes came from a peer. Returns what is wrong with them, if anything: once for each blob and fault."""
        line = self._lines.get(peer)
        if line is None or line.fetch is None:
            return ""
        fetch, before, now = line.fetch, line.fetch.problem, self._clock.now()
        line.heard = line.heard if chunk.error else now
        try:
            for unit, data in fetch.take(chunk, now):
                self.folder.write(fetch.ref, unit, data)
        except BadChunk as error:
            return str(error)
        except NoRoom as error:
            line.full = error
        line.wake.set()
        return fetch.problem if fetch.problem != before and not chunk.error else ""

    async def close(self) -> None:
        """Fetch no more; what has come is there after the next start."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(self, ref: BlobRef, line: _Line, urls: Sequence[str], progress: Progress | None) -> Path:
        async with line.turn, self._slots:
            found = self.folder.find(ref.sha256)
            if found is not None:
                return found  # the one before was cancelled in its last step
            try:
                if ref.size > self._settings.largest:
                    raise BlobRefused(f"{ref.size} bytes: at most {self._settings.largest}")
                line.fetch, line.full, line.told = Fetch(ref, line.window), None, progress or (lambda _missing: None)
                return await self._fetch(line.fetch, line, urls)
            except (BadList, BlobRefused) as error:
                reason = f"blob {ref.sha256[:12]}: {error}"
                _log.error("%s", reason)
                self._refuse((line.peer, ref), reason)
                raise BlobRefused(reason) from error

    async def _fetch(self, fetch: Fetch, line: _Line, urls: Sequence[str]) -> Path:
        ref = fetch.ref
        try:
            await thorough(self.folder.make_room, ref, {*self.kept(), *self._jobs})
            await self._pull(line, fetch)
            there = await thorough(self.folder.resume, ref, fetch.units)
            for url in urls:
                there |= await self._load(url, fetch, there)
            fetch.go_on(there)
            await self._pull(line, fetch)
            return await thorough(self.folder.finish, ref, fetch.listed)
        finally:
            fetch.stop()
            line.fetch = None
            self.folder.close(ref)

    async def _pull(self, line: _Line, fetch: Fetch) -> None:
        """Ask until the list, or the whole, is there."""
        line.heard = self._clock.now()
        while fetch.stage in (Stage.LIST, Stage.UNITS) and not fetch.failed:
            now = self._clock.now()
            if line.full is not None:
                raise line.full
            if now - line.heard > self.patience_s:
                raise BlobError(f"blob {fetch.ref.sha256[:12]}: {fetch.problem or 'nothing comes'}")
            wake = line.heard + self.patience_s
            if line.up:
                name, spans = fetch.ask(now)
                if spans:
                    self._wire.want(line.peer, name, spans)
                wake = min(wake, fetch.wake_at() or 0.0)
            line.told(fetch.missing)
            line.wake.clear()
            await rest(line.wake, wake - self._clock.now())
        if fetch.failed:
            raise BlobRefused(fetch.failed)
        line.told(fetch.missing)

    async def _load(self, url: str, fetch: Fetch, there: Collection[int]) -> set[int]:
        """What a URL gives of the units that are missing: all of them, or less."""
        missing = {number: unit for number, unit in enumerate(fetch.units) if number not in there}
        found: set[int] = set()
        if not missing or self.refusal(url, fetch.ref):
            return found
        from messages.blobs.urls import load

        def keep(number: int, data: bytes) -> None:
            self.folder.write(fetch.ref, fetch.units[number], data)
            found.add(number)

        reason = await thorough(load, url, missing, keep, self._settings.ca_file)
        if reason:
            _log.warning("blob %s: %s: %s; the rest comes another way", fetch.ref.sha256[:12], url, reason)
            self._refuse((url, fetch.ref), reason)
        return found

    def _refuse(self, key: tuple[str, BlobRef], reason: str) -> None:
        self._refused[key] = reason
        if len(self._refused) > REMEMBERED:
            self._refused.popitem(last=False)

    def _line(self, peer: str) -> _Line:
        if peer not in self._lines:
            self._lines[peer] = _Line(peer, Window(self._random))
        return self._lines[peer]
