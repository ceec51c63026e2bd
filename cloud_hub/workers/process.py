"""One worker process as the hub sees it: started, loaded, given batches, ended."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from cloud_hub.store.protocol import Verdict, Waiting
from cloud_hub.workers.frames import HEAD, Answers, Batch, Broken, Load, Loaded, ToHub, ToWorker, framed, to_hub


class WorkerDied(Exception):
    """The process is gone, or took too long and has to be killed. The text says which."""


class ModelBroken(Exception):
    """The model cannot be loaded. The text says why, as the worker told it."""


class WorkerProcess:
    """A started process. `load` comes first, then `predict` as often as wanted, one at a time; `kill` at last."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._to = process.stdin
        self._from = process.stdout

    @classmethod
    async def start(cls) -> Self:
        """Start a process that finds this very code; `load` tells it which model."""
        arguments = ("-P", "-m", "cloud_hub.workers.serve")
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdin=pipe, stdout=pipe, env=environment(), start_new_session=True
            )
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def load(self, order: Load, timeout_s: float) -> str:
        """Load the model; returns its digest. Raises ModelBroken, WorkerDied."""
        match await self._ask(order, timeout_s, "loading the model"):
            case Loaded(digest):
                return digest
            case Broken(reason):
                raise ModelBroken(reason)
        raise WorkerDied("it spoke out of turn")

    async def predict(self, samples: Sequence[Waiting], timeout_s: float) -> tuple[Verdict, ...]:
        """Run the model on a batch. Raises WorkerDied."""
        batch = Batch(tuple((sample.row, sample.x) for sample in samples))
        match await self._ask(batch, timeout_s, f"a batch of {len(samples)}"):
            case Answers(verdicts):
                return verdicts
        raise WorkerDied("it spoke out of turn")

    async def ended(self) -> str:
        """Wait until the process is gone; says how it ended."""
        return _ending(await self._process.wait())

    async def kill(self) -> None:
        """End the process and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _ask(self, message: ToWorker, timeout_s: float, what: str) -> ToHub:
        try:
            async with asyncio.timeout(timeout_s):
                self._to.write(framed(message))
                await self._to.drain()
                (size,) = HEAD.unpack(await self._from.readexactly(HEAD.size))
                return to_hub(await self._from.readexactly(size))
        except TimeoutError as error:
            raise WorkerDied(f"{what} took longer than {timeout_s:g} s") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise WorkerDied(await self.ended()) from error


def environment() -> dict[str, str]:
    """The environment of a process that finds this very code."""
    package, known = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{known}" if known else package}


def _ending(code: int) -> str:
    if code >= 0:
        return f"it exited with code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"
