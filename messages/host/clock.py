"""The two times a program needs: run time for everything that is measured, and the wall clock for messages."""

import time


class Clock:
    """Run time goes on from `start` (seconds), where the last process stopped, and never goes back."""

    def __init__(self, start: float) -> None:
        self._offset = start - time.monotonic()

    def now(self) -> float:
        """Run time in seconds."""
        return time.monotonic() + self._offset

    @staticmethod
    def at() -> int:
        """Wall clock in ms since 1970; wrong where the machine's clock is."""
        return time.time_ns() // 1_000_000
