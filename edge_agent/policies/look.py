"""What is seen of one sample: how much the big model may help with it, and how far it lies from what is known."""

from math import isfinite, log
from typing import Any, Final, NamedTuple

import numpy as np

from edge_agent.policies.rules import readable
from messages.offload import features
from messages.offload.features import Array
from messages.offload.score import distance, scorer
from messages.offload.shapes import Certainty, Network, OffloadPolicy
from messages.shapes import Value

FAR: Final = 6.0
"""No sample counts as farther away than so many standard deviations: one monster is no change of the world."""


class Seen(NamedTuple):
    """One sample. `problem` says why there is no score; `far` is the standardised distance, None without a gate."""

    problem: str
    score: float
    shifted: bool
    far: float | None


class Look:
    """A policy's score and gate as one function; pooled once for both. Raises ValueError when they do not fit."""

    def __init__(self, policy: OffloadPolicy | None = None) -> None:
        score = Certainty() if policy is None else policy.score
        self._score = scorer(score)
        self._network = isinstance(score, Network)
        self._classes = score.classes if isinstance(score, Network) else None
        self._pool = self._shape = self._gate = self._distance = None
        if policy is not None and policy.pool is not None:
            self._pool, self._shape = features.pooler(policy.pool), policy.pool.shape
        if policy is not None and policy.gate is not None:
            self._gate, self._distance = policy.gate, distance(policy.gate)
        self._check(policy, score)

    def __call__(self, value: Any, x: Any) -> Seen:
        """Look at a result and its sample. Never raises, whatever they are."""
        try:
            pooled = self._pooled(x)
            shifted, far = self._placed(pooled)
            problem, score = self._judged(value, pooled)
        except (FloatingPointError, RuntimeWarning):  # where the program made errors of NumPy's warnings
            return Seen(features.INVALID, 0.0, self._gate is not None, None if self._gate is None else FAR)
        return Seen(problem, score, shifted, far)

    def _pooled(self, x: Any) -> Array | None:
        if self._pool is None or not isinstance(x, np.ndarray) or x.shape != self._shape or x.dtype.kind not in "fiub":
            return None
        return self._pool(x)

    def _judged(self, value: Any, pooled: Array | None) -> tuple[str, float]:
        result = value if isinstance(value, Value) else readable(value)
        seen = features.INVALID if result is None else features.read(result)
        if isinstance(seen, str):
            return seen, 0.0
        if isinstance(seen, float):
            return (features.INVALID, 0.0) if self._network else ("", 1.0 - seen)
        if self._network and (len(seen) != self._classes or (self._pool is not None and pooled is None)):
            return features.INVALID, 0.0
        score = float(self._score(seen, pooled))
        return ("", score) if isfinite(score) else (features.INVALID, 0.0)

    def _placed(self, pooled: Array | None) -> tuple[bool, float | None]:
        """Whether a sample is shifted, and how far it lies away. What cannot be measured lies far away."""
        if self._gate is None or self._distance is None:
            return False, None
        measured = float("nan") if pooled is None else float(self._distance(pooled))
        if not isfinite(measured):
            return True, FAR
        spread = (log(measured) - self._gate.location) / self._gate.scale if measured > 0.0 else -FAR
        return measured > self._gate.threshold, min(FAR, max(-FAR, spread))

    def _check(self, policy: OffloadPolicy | None, score: Certainty | Network) -> None:
        """Call everything once on zeros of the right sizes."""
        cells = None if self._pool is None or self._shape is None else self._pool(np.zeros(self._shape))
        if isinstance(score, Network) and score.cells != (0 if cells is None else len(cells)) and score.cells:
            raise ValueError(f"score: sees {score.cells} cells, the pool gives {0 if cells is None else len(cells)}")
        if self._distance is not None:
            if cells is None:
                raise ValueError("gate: there is no pool")
            if policy is not None and policy.gate is not None and policy.gate.mean.shape != cells.shape:
                raise ValueError(f"gate: sees {policy.gate.mean.shape} cells, the pool gives {cells.shape}")
