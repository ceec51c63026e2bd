"""Alarms: when the world has changed, when it is back, and when what should be sent is more than may be."""

from math import erfc, inf, sqrt
from typing import Final, Literal

from msgspec import structs

from edge_agent.policies.adwin import Adwin
from messages.shapes import Alarm

SHOWN: Final = 8
"""So many alarms are remembered, the last ones."""

RISE: Final = 0.5
"""A change is an alarm when the signal rises this far above calibration's mean, in standard deviations."""

_RECENT: Final = 1.0 / 50.0
"""The weight of the newest sample in the share of shifted ones among the last, about 50."""

_BACK: Final = 0.25
"""An alarm ends when that share has fallen to this part of the way from its highest back to what is usual, """

_LEAST: Final = 50
"""and no sooner than so many samples after that."""


_NEAR: Final = 1.0
"""While an alarm holds, what lies nearer to the new world than to the old counts as shifted, from here on."""

_RUN: Final = (6, 16)
"""From so many shifted samples in a row to so many they are reason enough to look for a change at once."""


class Alarms:
    """The alarms of one job, each told once when it begins and once when it ends."""

    def __init__(self) -> None:
        self._all: list[Alarm] = []
        self._news: list[str] = []

    @property
    def last(self) -> tuple[Alarm, ...]:
        """The last ones, oldest first."""
        return tuple(self._all)

    def _holds(self, kind: str) -> bool:
        return any(alarm.kind == kind and not alarm.until for alarm in self._all)

    def begin(self, kind: Literal["shift", "over budget"], text: str, at: int) -> None:
        """Raise one, unless one of this kind holds."""
        if self._holds(kind):
            return
        number = self._all[-1].number + 1 if self._all else 1
        self._all = [*self._all, Alarm(number=number, kind=kind, at=at, text=text)][-SHOWN:]
        self._news.append(f"alarm {number}, {kind}: {text}")

    def end(self, kind: str, at: int) -> None:
        """The one of this kind that holds, if any, is over."""
        for place, alarm in enumerate(self._all):
            if alarm.kind == kind and not alarm.until:
                self._all[place] = structs.replace(alarm, until=max(at, alarm.at, 1))
                self._news.append(f"alarm {alarm.number}, {kind}: over")

    def tell(self, line: str) -> None:
        """Something else for a person to read."""
        self._news.append(line)

    def take_news(self) -> list[str]:
        """What began and ended since the last call, in words."""
        news, self._news = self._news, []
        return news


class Shift:
    """Watches a standardised signal for a rise, and the share of shifted samples for the end of it.

    While an alarm `holds`, a signal above `limit` is that of a shifted sample too.
    """

    def __init__(self) -> None:
        self.holds = False
        self.limit = inf
        self._detector = Adwin()
        self._recent = self._highest = self._calm = 0.0
        self._samples = self._run = 0

    def add(self, signal: float, *, shifted: bool) -> None:
        """Take in one sample; with it an alarm may begin or end."""
        soon = False
        self._recent *= 1.0 - _RECENT
        if shifted:
            self._recent += _RECENT
            self._run += 1
            soon = _RUN[0] <= self._run <= _RUN[1]
        else:
            self._run = 0
        change = self._detector.add(signal, now=soon)
        if self.holds:
            self._samples += 1
            self._highest = max(self._highest, self._recent)
            self.holds = self._samples < _LEAST or self._recent > self._calm + _BACK * (self._highest - self._calm)
            self.limit = self.limit if self.holds else inf
        elif change is not None and change[1] >= max(RISE, change[0] + RISE):
            self.holds, self._highest, self._samples = True, self._recent, 0
            self.limit = max(_NEAR, 0.5 * (change[0] + change[1]))
            self._calm = 0.5 * erfc(self.limit / sqrt(2.0))
