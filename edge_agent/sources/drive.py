"""Feeds a job from its source, and opens the source again when it fails."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Protocol

from edge_agent.core.counters import Counters
from edge_agent.jobs import Job, SampleError
from edge_agent.plugins import PluginFailed
from edge_agent.seldom import Seldom
from edge_agent.sources.feed import Bad, Feed, Sample, SourceError
from edge_agent.sources.known import Source

FIRST_S, LAST_S = 1.0, 60.0
"""How long to wait before a source is opened again: twice as long each time, until a sample of it was used."""

_log = logging.getLogger("edge_agent")


class Infer(Protocol):
    """What takes a sample."""

    def __call__(self, x: Any, *, job: str, sample_id: str) -> Awaitable[object]:
        """Judge one sample of a job."""


async def drive(job: Job, infer: Infer, counters: Counters) -> None:
    """Pull one job's source until it ends for good; other jobs never notice, and a bad reading stops nothing."""
    assert job.source is not None, "only jobs with a source are driven"
    await _Drive(job, job.source, infer=infer, counters=counters).run()


class _Drive:
    def __init__(self, job: Job, source: Source, *, infer: Infer, counters: Counters) -> None:
        self._job = job
        self._source = source
        self._infer = infer
        self._counters = counters
        self._who = f"job {job.name}: source {source.name}"
        self._seldom = Seldom()
        self._wait = FIRST_S

    async def run(self) -> None:
        while True:
            failed = False
            try:
                await self._pull()
                _log.info("%s has ended", self._who)
            except (PluginFailed, SourceError) as error:
                failed = True
                self._seldom.tell("stopped", logging.ERROR, f"{self._who} stopped: {error}")
            self._counters.source_stops += 1
            if not _again(self._job.settings.restart, failed=failed):
                return
            self._seldom.tell("again", logging.INFO, f"{self._who}: opening it again in {self._wait:.0f} s")
            await asyncio.sleep(self._wait)
            self._wait = min(LAST_S, 2.0 * self._wait)

    async def _pull(self) -> None:
        async with Feed(self._source.name, self._source.open, self._source.keep) as feed:
            while (item := await self._next(feed)) is not None:
                problem = await self._judge(item)
                if problem:
                    self._counters.bad_readings += 1
                    self._seldom.tell("bad", logging.WARNING, f"{self._who}: bad reading: {problem[:400]}")
                    feed.refuse(problem)
                else:
                    self._wait = FIRST_S
                self._counters.skipped += feed.take_skipped()
                await asyncio.sleep(0)

    async def _judge(self, item: Sample | Bad) -> str:
        """What is wrong with a reading; "" when it was used."""
        if isinstance(item, Bad):
            return f"{item.where}: {item.reason}"
        try:
            await self._infer(item.x, job=self._job.name, sample_id=item.sample_id)
        except (PluginFailed, SampleError) as error:
            return f"{item.sample_id}: {error}" if item.sample_id else str(error)
        return ""

    async def _next(self, feed: Feed) -> Sample | Bad | None:
        """The next reading, None at the end. A source that blocks is named once, and when it is back."""
        silence_s, silent = self._job.settings.silence_s, False
        while True:
            try:
                async with asyncio.timeout(silence_s or None):
                    item = await anext(feed, None)
            except TimeoutError:
                alive = feed.take_sign()
                if not alive and not silent:
                    _log.warning("%s gave nothing for %g s; waiting on", self._who, silence_s)
                    self._counters.source_stops += 1
                silent = not alive
                continue
            if silent:
                _log.info("%s gives readings again", self._who)
            return item


def _again(restart: str, *, failed: bool) -> bool:
    return restart == "always" or (restart == "on-failure" and failed)
