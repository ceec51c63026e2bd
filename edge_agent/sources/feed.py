"""Runs one source in a thread of its own and hands its samples to the event loop, one at a time.

A source that is faster than the engine is held back (`every`), or its older readings make way for newer ones
(`newest`), which is counted.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from threading import Condition, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from edge_agent import plugins

if TYPE_CHECKING:
    import numpy as np

Keep = Literal["newest", "every"]


class Sample(NamedTuple):
    """What a source yields: an array, with an id of its own or an empty one."""

    sample_id: str
    x: "np.ndarray[Any, Any]"


class SourceError(Exception):
    """A source yielded what is no sample. The text names the source."""


class Feed:
    """The samples of one source, as an asynchronous iterator for one consumer.

    Ends when the source ends; raises PluginFailed when the source raises, and SourceError when it yields what is no
    sample. Leaving the context lets the thread go; one that is stuck in the source's code dies with the process.
    """

    def __init__(self, name: str, open_source: Callable[[], Iterable[Any]], keep: Keep) -> None:
        self._skipped = 0
        self._name = name
        self._open = open_source
        self._keep = keep
        self._condition = Condition()
        self._held: list[Sample] = []
        self._end: Exception | None = None
        self._closed = False
        self._ready = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        Thread(target=self._run, args=(loop,), name=f"source {self._name}", daemon=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sample:
        while True:
            with self._condition:
                self._ready.clear()
                if self._held:
                    self._condition.notify_all()
                    return self._held.pop()
                if self._end is not None:
                    raise self._end
            await self._ready.wait()

    def take_skipped(self) -> int:
        """How many readings were overtaken since the last call."""
        with self._condition:
            skipped, self._skipped = self._skipped, 0
            return skipped

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        end: Exception = StopAsyncIteration()
        try:
            items = plugins.call(self._name, lambda: iter(self._open()))
            while self._hand_over(self._next(items), loop):
                pass
        except StopIteration:
            pass
        except (plugins.PluginFailed, SourceError) as error:
            end = error
        with self._condition:
            self._end = end
        self._wake(loop)

    def _next(self, items: Iterator[Any]) -> Sample:
        item = plugins.call(self._name, next, items)
        sample = Sample(*item) if isinstance(item, tuple) and len(item) == 2 else Sample("", item)
        if not isinstance(sample.sample_id, str) or not hasattr(sample.x, "dtype"):
            raise SourceError(
                f"{self._name}: yielded {type(item).__name__} {str(item)[:60]!r}: not an array, nor (id, array)"
            )
        return sample

    def _hand_over(self, sample: Sample, loop: asyncio.AbstractEventLoop) -> bool:
        """False when nobody wants samples any more."""
        with self._condition:
            if self._keep == "newest":
                self._skipped += len(self._held)
                self._held.clear()
            while self._held and not self._closed:
                self._condition.wait()
            if self._closed:
                return False
            self._held.append(sample)
        return self._wake(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> bool:
        try:
            loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return False
        return True
