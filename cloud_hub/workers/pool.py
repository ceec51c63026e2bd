"""All workers of a hub: each is started, fed and, when it dies, started again; what happens is told as events.

A worker gets another name at every start, so that a batch for one that just died never reaches its successor.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, NoReturn

from cloud_hub.config import JobSettings
from cloud_hub.store.protocol import Verdict, Waiting
from cloud_hub.workers.frames import Load
from cloud_hub.workers.process import ModelBroken, WorkerDied, WorkerProcess

FIRST_S: Final = 0.5
LAST_S: Final = 60.0
"""A worker that died is started again after half a second; one that never became ready ever later, up to a minute."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded its model."""

    job: str
    worker: str
    digest: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A worker has answered its batch."""

    job: str
    worker: str
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class Died:
    """A worker is gone, or its model cannot be loaded; another is started after `retry_s`."""

    job: str
    worker: str
    reason: str
    retry_s: float


Event = Ready | Answered | Died
Batches = asyncio.Queue[Sequence[Waiting] | None]
"""What a worker gets; None when its process has ended."""


class Pool:
    """The workers of all jobs. `tell` is called in the event loop with everything that happens."""

    def __init__(
        self, jobs: Mapping[str, JobSettings], folder: str, *, tell: Callable[[Event], None], random: Random
    ) -> None:
        self._jobs = {name: job for name, job in jobs.items() if job.predictor}
        self._folder = folder
        self._tell = tell
        self._random = random
        self._ready: dict[str, Batches] = {}
        self.pids: dict[str, int] = {}
        """The processes that run now, by the worker's name."""

    @property
    def missing(self) -> dict[str, int]:
        """How many workers of each job should be ready and are not; jobs that lack none are left out."""
        wanted = {name: job.workers for name, job in self._jobs.items()}
        for worker in self._ready:
            wanted[worker.rpartition("/")[0]] -= 1
        return {name: number for name, number in wanted.items() if number > 0}

    def predict(self, worker: str, samples: Sequence[Waiting]) -> None:
        """Give a ready worker its next batch; `Answered` or `Died` will follow, or `Died` is already on its way."""
        batches = self._ready.get(worker)
        if batches is not None:
            batches.put_nowait(samples)

    async def run(self) -> None:
        """Keep all workers running until cancelled; then none is left."""
        async with asyncio.TaskGroup() as group:
            for job, settings in self._jobs.items():
                for number in range(settings.workers):
                    group.create_task(self._keep(job, number), name=f"worker {job}/{number}")

    async def _keep(self, job: str, number: int) -> None:
        failures = starts = 0
        while True:
            starts += 1
            worker = f"{job}/{number}.{starts}"
            ready, reason = await self._live(job, worker)
            failures = 1 if ready else failures + 1
            retry_s = min(LAST_S, FIRST_S * 2.0 ** min(failures - 1, 16)) * self._random.uniform(0.8, 1.2)
            self._tell(Died(job, worker, reason, retry_s))
            await asyncio.sleep(retry_s)

    async def _live(self, job: str, worker: str) -> tuple[bool, str]:
        """One worker's life, to its end: whether it was ever ready, and why it ended."""
        process = await WorkerProcess.start()
        self.pids[worker] = process.pid
        try:
            await self._serve(process, job, worker)
        except (WorkerDied, ModelBroken) as error:
            return worker in self._ready, str(error)
        finally:
            await process.kill()
            self._ready.pop(worker, None)
            del self.pids[worker]

    async def _serve(self, process: WorkerProcess, job: str, worker: str) -> NoReturn:
        settings = self._jobs[job]
        load = Load(settings.predictor, settings.model, self._folder)
        digest = await process.load(load, settings.load_timeout_s)
        batches = self._ready[worker] = Batches()
        self._tell(Ready(job, worker, digest))
        ended = asyncio.create_task(process.ended(), name=f"end of worker {worker}")
        ended.add_done_callback(lambda _: batches.put_nowait(None))
        try:
            while (samples := await batches.get()) is not None:
                self._tell(Answered(job, worker, await process.predict(samples, settings.timeout_s)))
            raise WorkerDied(ended.result())
        finally:
            ended.cancel()
