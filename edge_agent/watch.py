"""Says in the log what went wrong since the last look: dead letters, drops, bad bytes, a full disk, a silent hub.

It reads the books instead of being called for every message, so a flood of one mistake is one line in a while.
"""

import logging
from collections.abc import Iterator, Mapping

from messages.delivery.rows import Entry, Outcome
from messages.delivery.sqlite import SqliteStore

_LOST = {Outcome.REFUSED: "refused for good, now a dead letter", Outcome.DROPPED: "dropped to keep the outbox small"}
_SAID_ELSEWHERE = ("superseded", "disk full")

_log = logging.getLogger("edge_agent")


class Watch:
    """Compares the books with those of the last look. `silence_s` is how long without a receipt is worth a line."""

    def __init__(self, store: SqliteStore, *, silence_s: float) -> None:
        self._store = store
        self._silence_s = silence_s
        self._silent = False
        self._unsent = 0
        self._full = False
        self._bad = self._last_bad()
        self._ledger = dict(store.ledger())

    def look(self, *, unsent: int, kept: int, silent_s: float) -> None:
        """`unsent` and `kept` count hard samples since the start; `silent_s` how long the hub owes a receipt."""
        for line in self._losses(self._store.ledger()):
            _log.warning(line)
        for line in self._bad_bytes():
            _log.warning(line)
        self._look_at_disk(unsent, kept)
        self._look_at_silence(silent_s)

    def _losses(self, ledger: Mapping[Entry, int]) -> Iterator[str]:
        before, self._ledger = self._ledger, dict(ledger)
        for entry, number in ledger.items():
            new = number - before.get(entry, 0)
            if new > 0 and entry.outcome in _LOST and entry.reason not in _SAID_ELSEWHERE:
                whose = f"job {entry.job}: " if entry.job else ""
                yield f"{whose}{new} on {entry.path} {_LOST[entry.outcome]}: {entry.reason}"

    def _bad_bytes(self) -> Iterator[str]:
        sql = "SELECT topic, reason, count(*) FROM quarantine WHERE id > ? GROUP BY topic, reason LIMIT 20"
        for topic, reason, number in self._store.connection.execute(sql, (self._bad,)).fetchall():
            yield f"{number} unusable on {topic[:100]!r}, in quarantine: {reason[:200]}"
        self._bad = self._last_bad()

    def _look_at_disk(self, unsent: int, kept: int) -> None:
        new, self._unsent = unsent - self._unsent, unsent
        if new > 0:
            self._full = True
            _log.error("disk full: %d hard samples could not be kept (%d in all); the edge answers on", new, unsent)
        elif self._full and kept:
            self._full = False
            _log.info("disk: there is room again")

    def _look_at_silence(self, silent_s: float) -> None:
        if not self._silent and silent_s > self._silence_s:
            self._silent = True
            _log.warning(
                "no receipt for %.0f s though connected: the hub is away, or the broker's ACL swallows what is sent",
                silent_s,
            )
        elif self._silent and silent_s == 0.0:
            self._silent = False
            _log.info("the hub answers again")

    def _last_bad(self) -> int:
        return int(self._store.connection.execute("SELECT coalesce(max(id), 0) FROM quarantine").fetchone()[0])
