"""What a script without asyncio imports: the same agent, whose calls wait.

with SyncAgent.from_config("agent.toml") as agent:
    answer = agent.infer(x)
    print(answer.value, answer.provisional)
    print(answer.final(timeout=5.0))
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from edge_agent.agent import Agent
from edge_agent.answers import EdgeAnswer, FirstAnswer
from edge_agent.core.counters import Counters
from messages.shapes import Prediction

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class SyncAnswer(FirstAnswer):
    """The edge's prediction for one sample. When it is provisional, `final` waits for the hub's."""

    __slots__ = ("_agent", "_answer", "_final")

    def __init__(self, answer: EdgeAnswer, agent: "SyncAgent") -> None:
        super().__init__(answer.prediction)
        self._answer = answer
        self._agent = agent
        self._final = None if answer.provisional else answer.prediction

    def final(self, timeout: float | None = None) -> Prediction:
        """The final prediction: this one where it is not provisional. Raises TimeoutError after `timeout` seconds.

        With the hub away there is none for a long time; the sample is kept, and the job's sink gets the answer.
        """
        if self._final is None:
            self._final = self._agent.call(partial(self._answer.final, timeout))
        return self._final


class SyncAgent:
    """One node for a plain script, in a thread of its own; any thread may call it, the sinks run in the agent's.

    Calls raise what those of `Agent` raise, and what ended the agent once it has ended.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._ended: Future[None] = Future()

    @classmethod
    def from_config(cls, path: str | Path) -> Self:
        """Read a config, load its models and find its plug-ins. Raises ConfigError with one clear line."""
        return cls(Agent.from_config(path))

    def __enter__(self) -> Self:
        """Open the data folder and start. Raises FolderError."""
        started: Future[None] = Future()
        self._thread = Thread(target=lambda: asyncio.run(self._run(started)), name="agent", daemon=True)
        self._thread.start()
        wait((started, self._ended), return_when=FIRST_COMPLETED)
        if self._ended.done():
            self._ended.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._ended.exception() is not error:
            self._ended.result()

    def infer(self, x: "np.ndarray[Any, Any]", *, job: str = "", sample_id: str = "") -> SyncAnswer:
        """The edge's answer for one sample, at once; a hard sample is stored to be sent on. See `Agent.infer`."""
        return SyncAnswer(self.call(partial(self._agent.infer, x, job=job, sample_id=sample_id)), self)

    @property
    def connected(self) -> bool:
        """Whether the link to the broker is up."""
        return self._agent.connected

    @property
    def backlog(self) -> int:
        """How many messages wait for a receipt of the hub."""

        async def backlog() -> int:
            return self._agent.backlog

        return self.call(backlog)

    def counters(self, job: str = "") -> Counters:
        """What a job did since the start: hard / all is the share of samples that were sent on."""
        return self._agent.counters(job)

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run one of the agent's coroutines in its thread, and wait. An interrupt cancels it."""
        if self._ended.done():
            raise self._end()
        future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        either: tuple[Future[Any], ...] = (future, self._ended)
        try:
            wait(either, return_when=FIRST_COMPLETED)
        finally:
            future.cancel()
        if future.cancelled():
            raise self._end()
        return future.result()

    def _end(self) -> BaseException:
        return self._ended.exception() or RuntimeError("the agent was left: nothing can be asked of it any more")

    async def _run(self, started: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        life = asyncio.create_task(self._live(started), name="agent")
        await asyncio.wait({life})
        error = life.exception()
        self._ended.set_exception(error) if error else self._ended.set_result(None)

    async def _live(self, started: Future[None]) -> None:
        async with self._agent:
            started.set_result(None)
            await self._stop.wait()
