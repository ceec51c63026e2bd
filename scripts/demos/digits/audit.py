"""Closes the books of a demo from the databases alone: `python -m scripts.demos.digits.audit FOLDER` prints JSON.

It is a program of its own, which shares nothing with the running hub and agents but the ledger's arithmetic.
"""

import json
import sqlite3
import sys
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path

from messages.channels import DOWN_ANSWER, UP_SAMPLE
from messages.delivery.ledger import Books, close, total
from messages.delivery.rows import Entry, Outcome


class Ledger:
    """What one database says: the ledger's lines, and how many rows of a channel still wait."""

    def __init__(self, file: Path) -> None:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            self.lines = {
                Entry(peer, job, path, Outcome(outcome), reason): number
                for peer, job, path, outcome, reason, number in database.execute("SELECT * FROM ledger")
            }
            sql = "SELECT peer, path, count(*) FROM outbox GROUP BY peer, path"
            self._waiting = {(peer, path): number for peer, path, number in database.execute(sql)}

    def waiting(self, peer: str, path: str) -> int:
        """Rows in the outbox for a peer."""
        return int(self._waiting.get((peer, path), 0))


def audit(folder: Path, *, lost_power: Collection[str] = ()) -> dict[str, int]:
    """Sums over all devices and both directions; `lost`, `dropped` and `duplicated` must be 0.

    A power cut may take the last entries of a device's ledger, unless it syncs fully. For the devices in `lost_power`
    what only the hub's ledger knows is `rolled_back`; for all others it is lost, or there twice.
    """
    hub = Ledger(folder / "hub" / "data" / "hub.db")
    books: list[Books] = []
    gone = again = 0
    for database in sorted(folder.glob("device-*/data/agent.db")):
        agent, node = Ledger(database), database.parents[1].name
        up, down = UP_SAMPLE.path, DOWN_ANSWER.path
        samples = close(agent.lines, hub.lines, up, waiting=agent.waiting("hub", up), node=node, at_hub=True)
        answers = close(hub.lines, agent.lines, down, waiting=hub.waiting(node, down), node=node, at_hub=False)
        books += [samples, answers]
        if node in lost_power:
            gone, again = gone + answers.missing, again + samples.extra
    return {
        "lost": sum(book.lost for book in books) + _vanished(folder, hub) - gone,
        "dropped": sum(book.dropped for book in books),
        "refused": sum(book.refused for book in books),
        "waiting": sum(book.waiting for book in books),
        "duplicated": _twice(folder) + sum(book.extra for book in books) - again,
        "rolled_back": gone + again,
        "samples": sum(book.created for book in books[::2]),
        "answers": sum(book.created for book in books[1::2]),
    }


def _vanished(folder: Path, hub: Ledger) -> int:
    """Samples that the hub's ledger says it stored, and that its table does not hold. Nothing expires in a demo."""
    with closing(sqlite3.connect(f"file:{folder / 'hub' / 'data' / 'hub.db'}?mode=ro", uri=True)) as database:
        (held,) = database.execute("SELECT count(*) FROM samples").fetchone()
    return max(0, total(hub.lines, Outcome.STORED, UP_SAMPLE.path) - int(held))


def _twice(folder: Path) -> int:
    """Samples of one device that the hub holds twice, by id or by content (all digits of the data set differ)."""
    with closing(sqlite3.connect(f"file:{folder / 'hub' / 'data' / 'hub.db'}?mode=ro", uri=True)) as database:
        distinct = "max(count(*) - count(DISTINCT sample_id), count(*) - count(DISTINCT data))"
        extra: Iterable[tuple[int]] = database.execute(f"SELECT {distinct} FROM samples GROUP BY node")  # noqa: S608
        return sum(number for (number,) in extra)


if __name__ == "__main__":
    print(json.dumps(audit(Path(sys.argv[1]))))
