"""Keeping one mistake that is made over and over from filling the log."""

import logging
from time import monotonic

_log = logging.getLogger("edge_agent")


class Seldom:
    """Logs one line of a kind in `every_s` seconds, and says then how many were held back."""

    def __init__(self, every_s: float = 10.0) -> None:
        self._every_s = every_s
        self._quiet_until: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def tell(self, kind: str, level: int, line: str) -> None:
        """Log a line, unless one of this kind was logged a moment ago."""
        now = monotonic()
        if now < self._quiet_until.get(kind, now):
            self._held[kind] = self._held.get(kind, 0) + 1
            return
        held = self._held.pop(kind, 0)
        self._quiet_until[kind] = now + self._every_s
        _log.log(level, "%s", f"{line} (and {held} more like it since the last such line)" if held else line)
