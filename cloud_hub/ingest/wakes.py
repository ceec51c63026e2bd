"""Which nodes have something due, and when the next one has: without asking all of them each time."""

from heapq import heapify, heappop, heappush


class Wakes:
    """The moment (run time, seconds) at which each node wants to be woken; only its last word counts."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def put(self, node: str, at: float | None) -> None:
        """Wake a node at a moment; None: not at all."""
        if at is None:
            self._at.pop(node, None)
        elif self._at.get(node) != at:
            self._at[node] = at
            heappush(self._heap, (at, node))
            if len(self._heap) > 2 * len(self._at) + 64:
                self._heap = [(at, node) for node, at in self._at.items()]
                heapify(self._heap)

    def first(self) -> float | None:
        """When the first of them is due; None when none is."""
        while self._heap:
            at, node = self._heap[0]
            if self._at.get(node) == at:
                return at
            heappop(self._heap)
        return None

    def take(self, now: float) -> list[str]:
        """The nodes that are due by now, each of which says anew when it wants to be woken again."""
        due: list[str] = []
        while (at := self.first()) is not None and at <= now:
            _, node = heappop(self._heap)
            del self._at[node]
            due.append(node)
        return due
