"""A detector of changes in a stream's mean: ADWIN (Bifet & Gavalda, 2007)."""

from math import log, sqrt
from typing import Final

_MOST_BUCKETS: Final = 5
"""So many buckets of a size there are before two become one of the next."""

_LEAST: Final = 5
"""Neither part of the window is compared before it holds so many values."""

_GRACE: Final = 10


class Adwin:
    """Keeps sums of ever larger buckets of the past, and compares all ways to cut it into an older and a newer part.

    Memory and time grow with the logarithm of the stream's length. It looks for a change once in `clock` values, with
    `delta` the chance of a false one; both and their defaults are those of river's `drift.ADWIN`. Till it looks, values
    only wait: it is the same what it finds then. The bound is that for a spread of 1: values should be standardised.
    """

    def __init__(self, *, delta: float = 0.002, clock: int = 32) -> None:
        self._delta = delta
        self._clock = self._left = clock
        self._waiting: list[float] = []
        self._forget()

    def add(self, value: float, *, now: bool = False) -> tuple[float, float] | None:
        """Take in one value. The means before and after a change, when one is found; then it starts anew.

        `now`: look for one although it is not time yet.
        """
        self._waiting.append(value)
        self._left -= 1
        return None if self._left and not now else self._catch_up()

    def _catch_up(self) -> tuple[float, float] | None:
        """Take in what waits, and look for a change."""
        for value in self._waiting:
            self._insert(value)
        self._waiting.clear()
        change = self._change() if self._width > _GRACE else None
        if change is not None:
            self._forget()
        if change is not None or not self._left:
            self._left = self._clock
        return change

    def _forget(self) -> None:
        self._rows: list[list[float]] = [[]]  # sums of 2^i values each, oldest first
        self._width = 0
        self._total = self._variance = 0.0

    def _insert(self, value: float) -> None:
        if self._width:
            self._variance += self._width * (value - self._total / self._width) ** 2 / (self._width + 1)
        self._width += 1
        self._total += value
        rows, size = self._rows, 0
        rows[0].append(value)
        while len(rows[size]) > _MOST_BUCKETS:
            if size + 1 == len(rows):
                rows.append([])
            rows[size + 1].append(rows[size].pop(0) + rows[size].pop(0))
            size += 1

    def _change(self) -> tuple[float, float] | None:
        """The means on either side of that cut, of those that chance does not explain, where they differ most."""
        best: tuple[float, float] | None = None
        spread = log(2.0 * log(self._width) / self._delta)
        variance = self._variance / self._width
        old, old_sum = 0, 0.0
        for size in reversed(range(len(self._rows))):
            for bucket in self._rows[size]:
                old += 1 << size
                old_sum += bucket
                new = self._width - old
                if new < _LEAST:
                    return best
                if old < _LEAST:
                    continue
                before, after = old_sum / old, (self._total - old_sum) / new
                inverse = 1.0 / (old - _LEAST + 1) + 1.0 / (new - _LEAST + 1)
                least = sqrt(2.0 * inverse * variance * spread) + 2.0 / 3.0 * spread * inverse
                if abs(after - before) > max(least, abs(best[1] - best[0]) if best else 0.0):
                    best = before, after
        return best
