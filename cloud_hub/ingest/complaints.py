"""Keeping bad input from filling the log: the quarantine counts all of it, the log names a part."""

from collections.abc import Iterator
from typing import Final

NOTE_S: Final = 60.0
"""The same complaint about the same topic is made once in so many seconds."""

MOST: Final = 100
"""No more complaints than this are made in that time, for whoever sends rubbish may send another sort each time."""


class Complaints:
    """What the log was told lately about bad input."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}

    def lines(self, topic: str, reason: str, now: float) -> Iterator[str]:
        """The lines to log for one bad message; none when that would be too many. `now` is run time in seconds."""
        if now - self._told.get((topic, reason), -NOTE_S) < NOTE_S:
            return
        self._told = {key: told for key, told in self._told.items() if now - told < NOTE_S}
        if len(self._told) > MOST:
            return
        self._told[topic, reason] = now
        if len(self._told) > MOST:
            yield f"more sorts of bad input than {MOST} in {NOTE_S:.0f} s: the others are only counted"
        else:
            yield f"{topic}: {reason}"
