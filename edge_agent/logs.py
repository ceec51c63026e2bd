"""Log lines for people and for the journal: one line for each event worth knowing, on stderr."""

import logging
import sys
from collections.abc import Mapping

_MOST_TOLD = 1000
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class Flaps:
    """Keeps a link that comes and goes for the same reason from filling the log.

    A link counts as steady after `steady_s`; until then the same news is told only once.
    """

    def __init__(self, steady_s: float) -> None:
        self._steady_s = steady_s
        self._told: set[str] = set()
        self._up_since: float | None = None

    def is_news(self, text: str) -> bool:
        """Whether a line should be logged: it was not, since the link was last steady."""
        if text in self._told or len(self._told) > _MOST_TOLD:
            return False
        self._told.add(text)
        return True

    def up(self, now: float) -> None:
        """The link is up, at this run time in seconds."""
        self._up_since = now

    def down(self) -> None:
        """The link is down."""
        self._up_since = None

    def look(self, now: float) -> None:
        """Forget what was told when the link has become steady: what comes then is news."""
        if self._up_since is not None and now - self._up_since > self._steady_s:
            self._told.clear()


class JournalFormatter(logging.Formatter):
    """Puts the journal's `<N>` priority in front; the journal adds the time itself."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, with the priority on every line of it."""
        prefix = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def set_up(environment: Mapping[str, str], *, level: int = logging.INFO) -> None:
    """Log to stderr; in the journal's form when JOURNAL_STREAM says that it reads there."""
    handler = logging.StreamHandler(sys.stderr)
    if environment.get("JOURNAL_STREAM"):
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
