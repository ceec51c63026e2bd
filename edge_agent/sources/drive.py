"""Feeds a job from its source, and opens the source again when it fails."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from edge_agent.jobs import Job, SampleError
from edge_agent.plugins import PluginFailed
from edge_agent.sources.feed import Feed, SourceError

FIRST_S, LAST_S = 1.0, 60.0
"""How long to wait before a source is opened again: twice as long each time, until a sample of it was used."""

_log = logging.getLogger("edge_agent")


class Infer(Protocol):
    """What takes a sample."""

    def __call__(self, x: Any, *, job: str, sample_id: str) -> Awaitable[object]:
        """Judge one sample of a job."""


async def drive(job: Job, infer: Infer, skipped: Callable[[str, int], None]) -> None:
    """Pull one job's source until it ends for good; other jobs never notice.

    `skipped` is told how many readings were overtaken by newer ones.
    """
    assert job.source is not None, "only jobs with a source are driven"
    wait = FIRST_S
    while True:
        failed = False
        try:
            async with Feed(job.source_name, job.source, job.settings.keep) as feed:
                async for sample in feed:
                    await infer(sample.x, job=job.name, sample_id=sample.sample_id)
                    skipped(job.name, feed.take_skipped())
                    wait = FIRST_S
                    await asyncio.sleep(0)
            _log.info("job %s: source %s has ended", job.name, job.source_name)
        except (PluginFailed, SourceError, SampleError) as error:
            failed = True
            _log.error("job %s: source %s stopped: %s", job.name, job.source_name, error)
        if not _again(job.settings.restart, failed=failed):
            return
        _log.info("job %s: opening the source again in %.0f s", job.name, wait)
        await asyncio.sleep(wait)
        wait = min(LAST_S, 2.0 * wait)


def _again(restart: str, *, failed: bool) -> bool:
    return restart == "always" or (restart == "on-failure" and failed)
