"""A link on which bytes are scarce: how many are left, and which share of the samples they are enough for."""

from math import exp
from typing import Final

BURST: Final = 0.1
"""This part of what may be spent in a period may be spent at once; so the rest is what comes in evenly."""

_MOST_BURST: Final = 0.5
_FIRST_SHARE: Final = 0.2


class Meter:
    """At most `limit` bytes in any `per_s` seconds of run time, as far as samples decide it.

    It starts with nothing to spend: however often a program restarts, it does not spend more. What others spend
    (heartbeats, receipts, answers) is charged too, and may leave a debt of one period.
    """

    def __init__(self, limit: int, per_s: float) -> None:
        self._limit = float(limit)
        self._per_s = per_s
        self._tokens = 0.0
        self._now: float | None = None
        self._exchanged = 0
        self._size = 0.0
        self._interval = 0.0
        self._all_rate = self._own_rate = 0.0

    def tick(self, now: float, exchanged: int, size: int) -> None:
        """A sample of `size` bytes came at `now` (run time); so far the node has `exchanged` so many bytes."""
        first, passed = self._now is None, 0.0 if self._now is None else now - self._now
        spent = 0 if first else exchanged - self._exchanged
        self._now, self._exchanged = now, exchanged
        self._size = size if first else self._size + 0.05 * (size - self._size)
        self._interval = passed if self._interval == 0.0 else self._interval + 0.02 * (passed - self._interval)
        fade, memory = exp(-passed / (BURST * self._per_s)), BURST * self._per_s
        self._all_rate = self._all_rate * fade + spent / memory
        self._own_rate *= fade
        earned = self._tokens + self._rate * passed - spent
        self._tokens = max(-self._limit, min(self._burst, earned))

    def affords(self, size: int, waiting: int) -> bool:
        """Whether a sample may be sent although so many bytes wait to be sent already."""
        return self._tokens - waiting >= size

    def sent(self, size: int) -> None:
        """A sample is on its way: what others spend is the rest."""
        self._own_rate += size / (BURST * self._per_s)

    def share(self) -> float:
        """The share of samples that the bytes are enough for, a little more while many are left."""
        if self._interval <= 0.0 or self._size <= 0.0 or self._burst <= 0.0:
            return _FIRST_SHARE if self._limit else 0.0
        room = max(0.0, self._rate - max(0.0, self._all_rate - self._own_rate))
        fullness = min(1.0, max(0.0, self._tokens / self._burst))
        return min(1.0, room * self._interval / self._size * (0.5 + fullness))

    @property
    def _burst(self) -> float:
        return min(_MOST_BURST * self._limit, max(BURST * self._limit, 2.0 * self._size))

    @property
    def _rate(self) -> float:
        return (self._limit - self._burst) / self._per_s


class Hours:
    """The hours of a day (UTC) in which samples may be sent, written "22:00-06:00"; "" is always.

    Raises ValueError for anything else.
    """

    def __init__(self, window: str) -> None:
        self._from = self._to = 0
        if window:
            try:
                self._from, self._to = map(_minutes, window.split("-"))
            except ValueError:
                raise ValueError(f'window {window!r}: write it as "22:00-06:00"') from None

    def are_open(self, at: int) -> bool:
        """Whether the wall clock (ms) is within them."""
        minute = at // 60_000 % 1440
        if self._from == self._to:
            return True
        if self._from < self._to:
            return self._from <= minute < self._to
        return minute >= self._from or minute < self._to


def _minutes(text: str) -> int:
    hours, minutes = text.strip().split(":")
    if not (hours.isdigit() and minutes.isdigit() and int(hours) <= 24 and int(minutes) < 60):
        raise ValueError(text)
    return (int(hours) * 60 + int(minutes)) % 1440
