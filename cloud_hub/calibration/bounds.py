"""Exact bounds on shares (Clopper and Pearson, 1934), and the promise of quality that follows from them."""

from math import ceil, log

import numpy as np
from scipy.stats import beta

from messages.offload.features import Array
from messages.offload.shapes import Promise


def least_share(hits: int, of: int, confidence: float) -> float:
    """With this confidence the true share is at least so much."""
    return float(beta.ppf(1.0 - confidence, hits, of - hits + 1)) if hits else 0.0


def most_share(hits: Array, of: Array, confidence: float) -> Array:
    """With this confidence the true shares are at most so much; for arrays alike in shape, `of` at least 1."""
    shares: Array = np.where(hits < of, beta.ppf(confidence, hits + 1, np.maximum(of - hits, 1)), 1.0)
    return shares


def labels_needed(error: float, confidence: float) -> int:
    """So many labels without a single mistake would just do."""
    return ceil(log(1.0 - confidence) / log(1.0 - error))


def promise(scores: Array, wrong: Array, error: float, confidence: float) -> Promise | None:
    """The highest score up to which the edge is wrong in at most a share `error`, with this confidence.

    Thresholds are tested one after the other from the safest on, each at the full level, until the first fails
    (fixed-sequence testing: Geifman and El-Yaniv, 2017; Angelopoulos et al., 2021), so no correction for many tests is
    due. The first keeps a quarter of the samples, for with fewer a single mistake would end the sequence, and at least
    as many as a promise needs. None where even that one fails, or there are too few. The scores must not come from what
    was fitted to these very labels.
    """
    first = max(labels_needed(error, confidence), len(scores) // 4) - 1
    order = np.argsort(scores, kind="stable")
    kept, mistakes = np.arange(1, len(scores) + 1), np.cumsum(wrong[order])
    ends = np.append(scores[order][1:] > scores[order][:-1], True)  # of those that score alike all are kept or none
    tried = np.flatnonzero(ends[first:]) + first
    if not len(tried):
        return None
    held = most_share(mistakes[tried], kept[tried], confidence) <= error
    passed = int(np.argmin(held)) if not held.all() else len(held)
    if not passed:
        return None
    score = float(scores[order][tried[passed - 1]])
    return Promise(score=score, error=error, confidence=confidence, labels=len(scores))
