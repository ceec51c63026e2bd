"""How good a score is: the share of the oracle's gain, and the score below which sending does not help."""

import numpy as np

from messages.offload.features import Array

UP_TO = 0.4
"""Scores are compared at shares of sent samples from 0 to this."""

RESAMPLINGS = 200


def oracle_share(scores: Array, gain: Array, floor: float | None = None) -> float:
    """Area under the accuracy against the share that is sent: 0 by chance, 1 for who knows the gains (n,) beforehand.

    What scores at or below the floor is not sent. Nothing can be gained: 0.
    """
    count = max(1, int(len(scores) * UP_TO))
    order = np.argsort(-scores, kind="stable")[:count]
    sent = gain[order] if floor is None else np.where(scores[order] > floor, gain[order], 0.0)
    chance = gain.mean() * (count + 1) / 2
    best = np.cumsum(np.sort(gain)[::-1][:count].clip(0.0)).mean()
    return float((np.cumsum(sent).mean() - chance) / (best - chance)) if best > chance else 0.0


def resampled(scores: dict[str, Array], gain: Array, floors: dict[str, float | None], seed: int) -> dict[str, Array]:
    """The oracle shares (resamplings,) of scores, each on the same samples drawn with replacement."""
    random = np.random.default_rng(seed)
    draws = [random.integers(len(gain), size=len(gain)) for _ in range(RESAMPLINGS)]
    return {
        name: np.array([oracle_share(score[draw], gain[draw], floors[name]) for draw in draws])
        for name, score in scores.items()
    }


def floor_of(scores: Array, gain: Array) -> float | None:
    """The score up to which sending loses: below it the gains (n,) sum up to less than chance would explain.

    None where sending everything is best, or as good as can be told. Where sending loses somewhere and gains nowhere
    for certain, it is the highest score: nothing is sent.
    """
    order = np.argsort(-scores, kind="stable")
    total = np.append(0.0, np.cumsum(gain[order]))
    changed = np.append(0.0, np.cumsum(np.abs(gain[order])))  # which is the variance of the total by chance
    best = int(total.argmax())
    if total[best] - total[-1] <= 2.0 * np.sqrt(changed[-1] - changed[best]):
        return None
    return float(scores[order][best if total[best] > 2.0 * np.sqrt(changed[best]) else 0])
