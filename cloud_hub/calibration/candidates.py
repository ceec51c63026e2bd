"""The rules that a calibration compares, the simplest first, and their scores on samples that they never saw."""

from collections.abc import Callable
from typing import Final

import numpy as np

from cloud_hub.calibration import learned
from cloud_hub.calibration.rows import Rows
from messages.offload import features
from messages.offload.features import Array
from messages.offload.score import scorer
from messages.offload.shapes import Certainty, Score

FOLDS: Final = 5
TEMPERATURES: Final = (0.05, 20.0)

Fit = Callable[[Rows, int], Score]
"""From samples that are known, and how many hidden units a network may have, to a score."""


def certainties(temperature: float) -> dict[str, Fit]:
    """The rules that look at the edge's result alone and learn nothing but the temperature."""
    return {
        "margin": lambda *_: Certainty(rule="margin", temperature=temperature),
        "max probability": lambda *_: Certainty(rule="max_probability", temperature=temperature),
        "entropy": lambda *_: Certainty(rule="entropy", temperature=temperature),
    }


def learners(seed: int) -> dict[str, Fit]:
    """The rules that learn the expected gain: of what the edge says, and of the pooled sample where there is one."""
    return {
        "logistic": lambda rows, _: learned.logistic(rows.without_samples(), seed),
        "logistic, sample": lambda rows, _: learned.logistic(rows, seed),
        "network": lambda rows, units: learned.opinion(rows, units, seed),
    }


def temperature_of(rows: Rows) -> float:
    """The temperature with the highest likelihood of the true classes (Guo et al., 2017), to 1 %."""
    low, high = TEMPERATURES
    best = 1.0
    for _ in range(3):
        tried = np.geomspace(low, high, 25)
        best = float(tried[int(np.argmin([_surprise(rows, temperature) for temperature in tried]))])
        step = (high / low) ** (1 / 24)
        low, high = best / step, best * step
    return best


def held_out(fit: Fit, rows: Rows, others: Rows, units: int, seed: int) -> Array:
    """Scores (n,) of `rows`, each by a fit to the other folds and to the `others`, which nobody has labelled."""
    folds = _folds(rows, seed)
    scores = np.empty(len(rows))
    for fold in range(FOLDS):
        score = fit(rows.take(folds != fold) + others, units)
        scores[folds == fold] = scores_of(score, rows.take(folds == fold))
    return scores


def scores_of(score: Score, rows: Rows) -> Array:
    """What a score says of samples (n,)."""
    array: Array = np.asarray(scorer(score)(rows.p, rows.x), dtype=np.float64)
    return array


def _folds(rows: Rows, seed: int) -> Array:
    """(n,): in every fold as many samples of each gain as may be."""
    order = np.random.default_rng(seed).permutation(len(rows))
    order = order[np.argsort(rows.gain[order], kind="stable")]
    folds = np.empty(len(rows), dtype=int)
    folds[order] = np.arange(len(rows)) % FOLDS
    return folds


def _surprise(rows: Rows, temperature: float) -> float:
    true = features.scaled(rows.p, temperature)[np.arange(len(rows)), rows.truth]
    return float(-np.log(np.maximum(true, 1e-9)).mean())
