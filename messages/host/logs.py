"""Log lines for people and for the journal: one line for each event worth knowing, on stderr."""

import logging
import sys
from collections.abc import Mapping

FAILED, USAGE, CONFIG = 1, 2, 78
"""The exit codes of both programs: it could not go on, it was asked wrongly, its configuration is wrong."""

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class LineFormatter(logging.Formatter):
    """One line for each record, whatever a sender has put into its names; only a traceback has lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """The record's text with nothing in it that begins a new line or moves a terminal."""
        return "".join(c if c.isprintable() else "?" for c in super().formatMessage(record))


class JournalFormatter(LineFormatter):
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
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def fail(log: logging.Logger, code: int, text: str) -> int:
    """Say why a command fails, a line for each problem; returns the exit code."""
    for line in text.splitlines():
        log.error(line)
    return code
