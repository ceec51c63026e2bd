"""Virtual time: a heap of what will happen, in an order that the seed decides alone."""

import heapq
from collections.abc import Callable
from hashlib import blake2b


class Timeline:
    """The clock and the queue of the world. `trace` takes in what happened, so that two runs can be compared."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._trace = blake2b(digest_size=16)

    @property
    def at(self) -> int:
        """The wall clock in ms."""
        return 1_700_000_000_000 + int(self.now * 1000)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen later."""
        self._number += 1
        heapq.heappush(self._queue, (self.now + max(0.0, seconds), self._number, action))

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen up to a time, or until `stop` says so (asked every virtual second)."""
        asked = self.now
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self._queue)
            action()
            if self.now - asked >= 1.0:
                asked = self.now
                if stop():
                    return
        self.now = max(self.now, until)

    def note(self, *words: object) -> None:
        """Take an event into the digest."""
        self._trace.update(f"{self.now:.6f} {words}\n".encode())

    def digest(self) -> str:
        """Equal for two runs in which the same happened at the same times."""
        return self._trace.hexdigest()
