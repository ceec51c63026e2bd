"""Keeps the share of samples that are sent at a budget, and sends the hardest rather than the first."""

from typing import Final

GAIN: Final = 0.02
"""How far one sample moves the limit, in ranks."""

_HIGHEST: Final = 1.0 + GAIN


class Bucket:
    """Tokens, at most `burst`; of n samples, each of which puts `rate` in, no more than burst + rate * n get one."""

    def __init__(self, burst: int) -> None:
        self.burst = float(burst)
        self.tokens = float(burst)

    def fill(self, rate: float) -> None:
        """Another sample came."""
        self.tokens = min(self.burst, self.tokens + rate) if rate > 0.0 else 0.0

    def take(self, *, spare: float = 0.0) -> bool:
        """Use one up, unless no more than `spare` would be left."""
        if self.tokens < 1.0 + spare:
            return False
        self.tokens -= 1.0
        return True


class Controller:
    """A limit on ranks that moves so that in the long run `share` of all samples lie above it.

    The integral controller of adaptive conformal inference (Gibbs & Candes, 2021) with "sent" as the error: each
    sample moves the limit by GAIN * (sent - share). It settles for any stream; ties above it are sent now and then.
    """

    def __init__(self, share: float) -> None:
        self.limit = 1.0 - share

    def wants(self, rank: float, share: float) -> bool:
        """Whether a sample of this rank, from 0 to 1, is to be sent."""
        return share >= 1.0 or (share > 0.0 and rank > self.limit)

    def learn(self, share: float, *, sent: bool) -> None:
        """Move the limit. It is not called for a sample that something else held back, or it would run away."""
        limit = self.limit + GAIN * (sent - share)
        self.limit = limit if -GAIN <= limit <= _HIGHEST else min(_HIGHEST, max(-GAIN, limit))
