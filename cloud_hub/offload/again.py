"""Re-calibration beside the hub: looks for news in the database, and has a process of its own fit again."""

import asyncio
import logging
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from cloud_hub.jobs.recalibration import News, Spec, due
from cloud_hub.store.folder import reading
from cloud_hub.workers.process import environment
from messages.host.folder import FolderError

EVERY_S: Final = 10.0
"""So often the hub looks whether there is news enough."""

_log = logging.getLogger("cloud_hub")


class Again:
    """Fits the policies of these jobs again as audits and labels come. `folder` is where the database lies."""

    def __init__(self, jobs: Mapping[str, Spec], folder: Path) -> None:
        self._jobs = jobs
        self._folder = folder
        self._tried: dict[str, News] = {}

    async def run(self) -> None:
        """Look and fit until cancelled; then no process is left."""
        while self._jobs:
            await asyncio.sleep(EVERY_S)
            for job, spec in self._jobs.items():
                await self._look(job, spec)

    async def _look(self, job: str, spec: Spec) -> None:
        try:
            news = await asyncio.to_thread(self._news, job)
        except (FolderError, sqlite3.Error) as error:
            _log.warning("job %s: cannot look for news: %s", job, error)
            return
        tried = self._tried.get(job, News(0, 0))
        reason = due(News(news.audits - tried.audits, news.labels - tried.labels), spec)
        if not reason:
            return
        _log.info("job %s: %s: fitting the offload policy again", job, reason)
        if await self._fit(job):
            self._tried.pop(job, None)
        else:
            self._tried[job] = news

    def _news(self, job: str) -> News:
        with closing(reading(self._folder)) as reader:
            found = reader.execute("SELECT sample, label FROM calibrations WHERE job = ?", (job,)).fetchone()
            sample, label = found or (0, 0)
            audits = "SELECT count(*) FROM samples WHERE job = ? AND audit AND id > ? AND value IS NOT NULL"
            labels = "SELECT count(*) FROM labels WHERE id > ? AND job = ?"
            return News(
                reader.execute(audits, (job, sample)).fetchone()[0], reader.execute(labels, (label, job)).fetchone()[0]
            )

    async def _fit(self, job: str) -> bool:
        """Whether a fit came to an end, with another policy or not; its words go to the log."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "cloud_hub.offload.refit", str(self._folder), job,
            stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = said.decode(errors="replace").strip()
        if process.returncode:
            _log.error("job %s: the policy could not be fitted again: %s", job, text or f"code {process.returncode}")
            return False
        _log.info("job %s: %s", job, text)
        return True
