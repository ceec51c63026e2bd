"""From a score to its rank among others: of calibration, or the last ones that were seen."""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from typing import Final

from messages.offload.shapes import OffloadPolicy
from messages.tensors import unpack

MEMORY: Final = 512
"""So many scores are remembered where calibration gave none."""


class Ranks:
    """Ranks from 0 to 1; equal scores share the middle of theirs."""

    def __init__(self, sketch: Sequence[float] = ()) -> None:
        self._sorted = list(sketch)
        self._recent: deque[float] | None = None if sketch else deque()

    def of(self, score: float) -> float:
        """The rank of a finite score, which is then remembered where there is no sketch."""
        known = self._sorted
        left = bisect_left(known, score)
        tied = left < len(known) and known[left] == score
        places = left + (bisect_right(known, score, left) if tied else left)
        if self._recent is None:
            return 0.5 * places / len(known)
        rank = 0.5 * (places + 1) / (len(known) + 1)
        self._remember(score, self._recent)
        return rank

    def _remember(self, score: float, recent: deque[float]) -> None:
        insort(self._sorted, score)
        recent.append(score)
        if len(recent) > MEMORY:
            del self._sorted[bisect_left(self._sorted, recent.popleft())]


def sketch_of(policy: OffloadPolicy) -> list[float]:
    """The policy's sketch as plain numbers; none where it has none. Raises ValueError when it is not ascending."""
    if policy.sketch is None:
        return []
    array = unpack(policy.sketch)
    numbers = [float(number) for number in array.ravel()]
    if array.ndim != 1 or array.dtype.kind != "f" or not numbers or sorted(numbers) != numbers:
        raise ValueError(f"sketch: {array.dtype.name}{list(array.shape)} is no ascending row of numbers")
    return numbers
