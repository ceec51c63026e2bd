"""The choice of a rule: the simplest that is within one standard error of the best."""

from dataclasses import dataclass

import numpy as np

from cloud_hub.calibration.gain import oracle_share, resampled
from messages.offload.features import Array


@dataclass(frozen=True, slots=True)
class Candidate:
    """How good a rule is on samples that it was not fitted to: its share of the oracle's gain, with standard error."""

    rule: str
    share: float
    error: float
    chosen: bool


def choose(scores: dict[str, Array], gain: Array, floors: dict[str, float | None], seed: int) -> tuple[Candidate, ...]:
    """All rules, one of them chosen; `scores` (n,) come the simplest first.

    Standard errors are of the difference to the best on the same samples, resampled.
    """
    shares = {name: oracle_share(score, gain, floors[name]) for name, score in scores.items()}
    draws = resampled(scores, gain, floors, seed)
    best = max(shares, key=lambda name: shares[name])
    chosen = next(name for name in scores if shares[best] - shares[name] <= float(np.std(draws[best] - draws[name])))
    return tuple(Candidate(name, shares[name], float(draws[name].std()), name == chosen) for name in scores)
