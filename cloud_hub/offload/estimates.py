"""Shares with their exact binomial intervals (Clopper and Pearson, 1934), and sums of such shares over strata."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from scipy.special import betaincinv

CONFIDENCE: Final = 0.95


class Estimate(Struct, frozen=True):
    """A share from 0 to 1 with its 95 % interval, and how many samples it rests on."""

    value: float
    low: float
    high: float
    samples: int


class Stratum(Struct, frozen=True):
    """A part of all samples: how many there are, and of `seen` that were looked at how many were `right`.

    Those are the part's own, unless it is only `like` them; then it may be that none was looked at.
    """

    size: int
    seen: int
    right: int
    like: bool = False

    @property
    def known(self) -> bool:
        """Whether all of it was looked at."""
        return not self.like and self.seen >= self.size


def share(right: int, seen: int, confidence: float = CONFIDENCE) -> Estimate | None:
    """The share of successes; None where nothing was seen."""
    if not seen:
        return None
    tail = (1.0 - confidence) / 2.0
    low = float(betaincinv(right, seen - right + 1, tail)) if right else 0.0
    high = float(betaincinv(right + 1, seen - right, 1.0 - tail)) if right < seen else 1.0
    return Estimate(right / seen, low, high, seen)


def overall(strata: Sequence[Stratum]) -> Estimate | None:
    """The share of right ones among all samples; None where a part of its own was not looked at.

    What was looked at in whole is known; the other parts share the risk that an interval is wrong (Bonferroni).
    """
    parts = [part for part in strata if part.size > 0]
    guessed = sum(not part.known for part in parts)
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, guessed)
    shares = [(part.size, _of(part, confidence)) for part in parts]
    size = sum(part.size for part in parts)
    known = [(weight, found) for weight, found in shares if found is not None]
    if not parts or len(known) < len(shares):
        return None
    value, low, high = (
        sum(weight * getattr(found, name) for weight, found in known) / size for name in ("value", "low", "high")
    )
    return Estimate(value, low, high, sum(part.seen for part in parts))


def _of(part: Stratum, confidence: float) -> Estimate | None:
    if part.like and not part.seen:
        return Estimate(0.5, 0.0, 1.0, 0)
    found = share(part.right, part.seen, confidence)
    if found is None or not part.known:
        return found
    return Estimate(found.value, found.value, found.value, part.seen)
