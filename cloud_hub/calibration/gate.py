"""The gate: how far a sample lies from those of calibration."""

from typing import Final

import numpy as np
from sklearn.covariance import LedoitWolf

from cloud_hub.calibration.arrays import small
from messages.offload import score
from messages.offload.features import Array
from messages.offload.shapes import Gate, Pool
from messages.tensors import pack

MOST_CELLS: Final = 49
FOLDS: Final = 5
BEYOND: Final = 0.99
"""This share of calibration lies within the threshold."""


def pool_for(shape: tuple[int, ...]) -> Pool | None:
    """At most 49 cells, shared as evenly as may be among the axes; the smaller axes keep all that they have.

    None for what has no axis, more than four, or one that is empty.
    """
    if not 1 <= len(shape) <= 4 or min(shape) < 1:
        return None
    grid = [1] * len(shape)
    while True:
        wider = [
            axis for axis, size in enumerate(shape) if grid[axis] < size and _with_one_more(grid, axis) <= MOST_CELLS
        ]
        if not wider:
            return Pool(shape=shape, grid=tuple(grid))
        grid[min(wider, key=lambda axis: grid[axis])] += 1


def gate_of(pooled: Array, parts: int) -> Gate:
    """A gate that sees `parts` directions of the pooled samples (n, cells): those in which they differ least.

    The threshold comes from distances out of sample.
    """
    folds = np.arange(len(pooled)) % FOLDS
    away = np.empty(len(pooled))
    for fold in range(FOLDS):
        held = folds == fold
        away[held] = score.distance(_whitened(pooled[~held], parts))(pooled[held])
    away = np.maximum(away, 1e-9)
    logs = np.log(away)
    fitted = _whitened(pooled, parts)
    return Gate(
        mean=fitted.mean, whiten=fitted.whiten, threshold=float(np.quantile(away, BEYOND)),
        location=float(logs.mean()), scale=float(max(logs.std(), 1e-3)),
    )  # fmt: skip


def _with_one_more(grid: list[int], axis: int) -> int:
    return int(np.prod(grid)) // grid[axis] * (grid[axis] + 1)


def _whitened(pooled: Array, parts: int) -> Gate:
    covariance = LedoitWolf().fit(pooled).covariance_
    values, vectors = np.linalg.eigh(covariance)
    least = max(values[-1] * 1e-6, 1e-12)
    whiten = vectors[:, :parts] / np.sqrt(np.maximum(values[:parts], least))
    return Gate(
        mean=pack(pooled.mean(axis=0, dtype=np.float32)), whiten=small(whiten), threshold=1.0, location=0.0, scale=1.0
    )
