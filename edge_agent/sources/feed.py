"""Runs one source in a thread of its own and hands its samples to the event loop, one at a time.

A source that is faster than the engine is held back (`every`): it goes on when its sample was judged and, if hard, is
stored. Or its older readings make way for newer ones (`newest`), which is counted.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator
from threading import Condition, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from edge_agent import plugins

if TYPE_CHECKING:
    import numpy as np

Keep = Literal["newest", "every"]


class Sample(NamedTuple):
    """What a source yields: an array, with an id of its own or an empty one."""

    sample_id: str
    x: "np.ndarray[Any, Any]"


class Bad(NamedTuple):
    """What a source yields for a reading that is no sample: where it stands, and what is wrong. It is counted."""

    where: str
    reason: str


IDLE: Final = object()
"""What a source yields when there is nothing yet: so that it counts as alive, and can be let go."""


class SourceError(Exception):
    """A source cannot go on, or yielded what is no sample. The text names the source."""


class Feed:
    """The samples of one source, as an asynchronous iterator for one consumer.

    A sample counts as judged when the next one is asked for. A generator that is kept waiting for that (`every`)
    learns what came of it: its `yield` gives None, or what `refuse` said.

    Ends when the source ends; raises PluginFailed when the source raises, and SourceError when it yields what is no
    sample. Leaving the context lets the thread go; one that is stuck in the source's code dies with the process.
    """

    def __init__(self, name: str, open_source: Callable[[], Iterable[Any]], keep: Keep) -> None:
        self._skipped = 0
        self._name = name
        self._open = open_source
        self._keep = keep
        self._condition = Condition()
        self._held: list[Sample | Bad] = []
        self._judged: Sample | Bad | None = None
        self._refusal: str | None = None
        self._sign = False
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

    async def __anext__(self) -> Sample | Bad:
        with self._condition:
            self._judged = None
            self._condition.notify_all()
        while True:
            with self._condition:
                self._ready.clear()
                if self._held:
                    self._judged = self._held.pop(0)
                    return self._judged
                if self._end is not None:
                    raise self._end
            await self._ready.wait()

    def refuse(self, reason: str) -> None:
        """What came last could not be used; the source may want to know."""
        self._refusal = reason

    def take_skipped(self) -> int:
        """How many readings were overtaken since the last call."""
        with self._condition:
            skipped, self._skipped = self._skipped, 0
            return skipped

    def take_sign(self) -> bool:
        """Whether the source said since the last call that it has nothing yet."""
        sign, self._sign = self._sign, False
        return sign

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        end: Exception = StopAsyncIteration()
        try:
            items = plugins.call(self._name, lambda: iter(self._open()))
            while not self._closed:
                self._hand_over(self._next(items), loop)
        except StopIteration:
            pass
        except (plugins.PluginFailed, SourceError) as error:
            end = error
        with self._condition:
            self._end = end
        self._wake(loop)

    def _next(self, items: Iterator[Any]) -> Sample | Bad | None:
        if isinstance(items, Generator):
            item = plugins.call(self._name, items.send, self._refusal if self._keep == "every" else None)
        else:
            item = plugins.call(self._name, next, items)
        self._refusal = None
        if item is IDLE or isinstance(item, Bad):
            return item if isinstance(item, Bad) else None
        sample = Sample(*item) if isinstance(item, tuple) and len(item) == 2 else Sample("", item)
        if not isinstance(sample.sample_id, str) or not hasattr(sample.x, "dtype"):
            raise SourceError(
                f"{self._name}: yielded {type(item).__name__} {str(item)[:60]!r}: not an array, nor (id, array)"
            )
        return sample

    def _hand_over(self, item: Sample | Bad | None, loop: asyncio.AbstractEventLoop) -> None:
        if item is None:
            self._sign = True
            return
        with self._condition:
            if self._keep == "newest" and isinstance(item, Sample):
                self._skipped += len(self._held)
                self._held.clear()
            self._held.append(item)
            self._wake(loop)
            if self._keep == "every" or isinstance(item, Bad):
                self._condition.wait_for(lambda: self._closed or not self._in_hand(item))

    def _in_hand(self, item: Sample | Bad) -> bool:
        return any(other is item for other in (self._judged, *self._held))

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._closed = True
