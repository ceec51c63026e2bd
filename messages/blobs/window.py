"""How much may be under way from one peer: as much as the line carries, and no more than waits for a moment.

The round trip of what is alone on the line is its own; what is longer is a queue, in which a command would stand too.
As in LEDBAT (RFC 6817) the window grows while the queue is shorter than TARGET_S and shrinks when it is longer; as in
LEDBAT++ it makes way now and then, to see the line empty again.
"""

from random import Random
from typing import Final

from messages.blobs.shapes import MOST_RANGE

TARGET_S: Final = 0.05
"""The queue that a transfer may make on a slow line."""

LEAST: Final = 4_096
FIRST: Final = 16_384
MOST: Final = 1 << 20
"""Bytes under way."""

PIECES: Final = 4
"""A window holds so many ranges or more, so that the line is never idle while one is asked for."""

EPOCH_S: Final = 30.0
"""So often the line is looked at anew."""

FIRST_S: Final = 1.0
LAST_S: Final = 60.0
"""A range is asked for again after four round trips, FIRST_S at least, then twice as late each time."""


class Window:
    """The bytes under way from one peer. Times are run time in seconds."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._size = float(FIRST)
        self._rising = True
        self._flight = 0
        self._quickest = self._before = LAST_S
        self._smooth = 0.0
        self._epoch = 0.0

    @property
    def size(self) -> int:
        """Bytes that may be under way."""
        return int(self._size)

    def length(self) -> int:
        """How long the next range may be; 0 while the window is full. One range is always allowed."""
        piece = min(MOST_RANGE, max(LEAST, int(self._size / PIECES) // LEAST * LEAST))
        return piece if not self._flight or self._flight + piece <= self._size else 0

    def sent(self, length: int) -> None:
        """A range was asked for."""
        self._flight += length

    def dropped(self, length: int) -> None:
        """A range is not waited for any more."""
        self._flight -= length

    def took(self, length: int, round_trip: float, now: float, *, tries: int = 1) -> None:
        """A range has come, so long after it was first asked for, in so many tries."""
        self._flight -= length
        self._smooth = round_trip if not self._smooth else 0.875 * self._smooth + 0.125 * round_trip
        if tries > 1:
            return  # to which of them it was the answer is not known; but the line is slower than was thought
        self._quickest = min(self._quickest, round_trip)
        self._steer(length, round_trip - min(self._quickest, self._before))
        if now - self._epoch > EPOCH_S:
            self._epoch = now
            self._before, self._quickest = self._quickest, LAST_S
            self._size, self._rising = min(self._size, float(FIRST)), True

    def lost(self) -> None:
        """A range did not come in time."""
        self._size, self._rising = max(float(LEAST), self._size / 2.0), False

    def timeout(self, tries: int) -> float:
        """How long to wait for a range that was asked for so often."""
        first = max(FIRST_S, 4.0 * self._smooth)
        return float(min(LAST_S, first * 2.0 ** min(tries - 1, 16)) * self._random.uniform(0.8, 1.2))

    def _steer(self, length: int, queue: float) -> None:
        if self._rising and queue > TARGET_S / 2.0:
            self._rising = False
        share = length / self._size
        if self._rising:
            self._size += length
        elif queue > 2.0 * TARGET_S:
            self._size -= 0.5 * length
        else:
            self._size += share * min(self._size / PIECES, MOST_RANGE) * (1.0 - queue / TARGET_S)
        self._size = min(float(MOST), max(float(LEAST), self._size))
