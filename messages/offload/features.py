"""What a score looks at: numbers of the edge model's result and of the sample."""

from collections.abc import Callable
from functools import reduce
from math import isfinite
from typing import Any, Final

import numpy as np

from messages.offload.shapes import Pool
from messages.shapes import Boxes, Classes, Value

Array = np.ndarray[Any, Any]

INVALID: Final = "invalid"
NO_BOXES: Final = "no boxes"
NO_CONFIDENCE: Final = "no confidence"
ONE_CLASS: Final = "one class"

MOST_CLASSES: Final = 32
"""With more classes a learned score sees the highest probabilities only, not which classes they are of."""

TOP: Final = 3

MOST_AXES: Final = 4
"""So many axes may a sample have that is pooled."""

_SUM_TOLERANCE: Final = 0.05
"""Probabilities of an int8 model are multiples of 1/256, so ten classes may be 0.04 away from one; logits are not."""

_P_TOLERANCE: Final = 1e-6

TINY: Final = 1e-6
"""Probabilities below this have its logarithm."""


def read(value: Value) -> tuple[float, ...] | float | str:
    """A result's probabilities (classes,), or its one confidence in [0, 1], or the reason why it has neither.

    Boxes have the mean of their scores.
    """
    if isinstance(value, Classes):
        return _probabilities(value.probs)
    if isinstance(value, Boxes):
        return _mean([box.score for box in value.boxes]) if value.boxes else NO_BOXES
    if not isfinite(getattr(value, "scalar", 0.0)):
        return INVALID
    return NO_CONFIDENCE if value.confidence is None else _mean([value.confidence])


def are_probabilities(total: float, least: float, most: float) -> bool:
    """Whether numbers from `least` to `most` with this sum are such; not where one of them is NaN, for then it is."""
    return abs(total - 1.0) <= _SUM_TOLERANCE and least >= -_P_TOLERANCE and most <= 1.0 + _P_TOLERANCE


def scaled(p: Array, temperature: float) -> Array:
    """Probabilities (..., classes) as if the logits had been divided by `temperature`."""
    if temperature == 1.0:
        return p
    logits = np.log(np.maximum(p, TINY)) / temperature
    powers = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    out: Array = powers / np.add.reduce(powers, axis=-1, keepdims=True)
    return out


def entropy(p: Array) -> Array:
    """Entropy of probabilities (..., classes) over that of chance: from 0, certain, to 1. Needs two classes."""
    out: Array = -np.add.reduce(p * np.log(np.maximum(p, TINY)), axis=-1) / np.log(p.shape[-1])
    return out


def of_classes(p: Array) -> list[Array]:
    """The numbers of probabilities (..., classes) that a learned score sees, in parts of `width(classes)` in all.

    The three highest and the margin; up to 32 classes also each probability and its logarithm.
    """
    ordered = p.copy()
    ordered.sort(axis=-1)
    parts = [ordered[..., -TOP:], ordered[..., -1:] - ordered[..., -2:-1]]
    if p.shape[-1] <= MOST_CLASSES:
        parts += [p, np.log(np.maximum(p, TINY))]
    return parts


def width(classes: int) -> int:
    """How many numbers `of_classes` gives."""
    return min(TOP, classes) + 1 + (2 * classes if classes <= MOST_CLASSES else 0)


def averages(pool: Pool) -> tuple[Array, Array]:
    """Two matrices: a sample as (rows, others) between them is its averages, `left @ x @ right`, in float32.

    Raises ValueError when shape and grid do not fit each other.
    """
    if not pool.shape or len(pool.shape) != len(pool.grid) or len(pool.shape) > MOST_AXES:
        raise ValueError(f"pool: shape {pool.shape} and grid {pool.grid}: 1 to {MOST_AXES} sizes each")
    if any(not 1 <= cells <= size for size, cells in zip(pool.shape, pool.grid, strict=True)):
        raise ValueError(f"pool: grid {pool.grid} does not fit into shape {pool.shape}")
    left, *others = map(_along, pool.shape, pool.grid)
    return left.T.copy(), reduce(np.kron, others, np.ones((1, 1), dtype=np.float32))


def pooler(pool: Pool) -> Callable[[Array], Array]:
    """A function from samples (..., *shape) to averages (..., cells), in float32. Raises ValueError as `averages`."""
    left, right = averages(pool)

    def pooled(x: Array) -> Array:
        lead = x.shape[: x.ndim - len(pool.shape)]
        columns = np.asarray(x, dtype=np.float32).reshape(*lead, pool.shape[0], -1).dot(right)
        out: Array = np.matmul(left, columns).reshape(*lead, -1)
        return out

    return pooled


def _along(size: int, cells: int) -> Array:
    """(size, cells): column j averages the j-th of `cells` parts that share an axis as evenly as may be."""
    edges = np.linspace(0.0, size, cells + 1)
    left, right = np.arange(size)[:, None], np.arange(1, size + 1)[:, None]
    overlap = np.clip(np.minimum(right, edges[1:]) - np.maximum(left, edges[:-1]), 0.0, None)
    out: Array = (overlap / overlap.sum(axis=0)).astype(np.float32)
    return out


def _probabilities(probs: tuple[float, ...]) -> tuple[float, ...] | str:
    if not probs:
        return INVALID
    if not are_probabilities(sum(probs), min(probs), max(probs)):
        return INVALID
    return ONE_CLASS if len(probs) == 1 else probs


def _mean(scores: list[float]) -> float | str:
    if not all(-_P_TOLERANCE <= score <= 1.0 + _P_TOLERANCE for score in scores):
        return INVALID
    return min(1.0, max(0.0, sum(scores) / len(scores)))
