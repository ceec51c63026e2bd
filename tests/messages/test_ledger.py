"""The books of a sender and a receiver, compared by someone who saw neither."""

import pytest

from messages.delivery.ledger import Books, close, total
from messages.delivery.rows import Entry, Outcome

UP, DOWN = "up/sample", "down/answer"


def lines(peer: str, path: str, **numbers: int) -> dict[Entry, int]:
    return {Entry(peer, "digits", path, Outcome(outcome)): number for outcome, number in numbers.items()}


def test_books_that_close_have_lost_nothing() -> None:
    agent = lines("hub", UP, created=10, done=6, refused=1, dropped=2)
    hub = lines("node-1", UP, stored=5, known=1, refused=1)
    books = close(agent, hub, UP, waiting=1, node="node-1", at_hub=True)
    assert books == Books(created=10, done=6, refused=1, dropped=2, waiting=1, stored=5, known=1)
    assert (books.unbalanced, books.lost) == (0, 0)


@pytest.mark.parametrize(
    ("agent", "stored", "lost"),
    [
        ({"created": 10, "done": 10}, 8, 2),  # believed to be safe, and is not
        ({"created": 10, "done": 8}, 8, 2),  # gone without a line
        ({"created": 10, "done": 8}, 7, 3),
        ({"created": 10, "done": 10}, 12, 0),  # stored, and the receipt is still on its way
    ],
)
def test_what_is_missing_is_lost(agent: dict[str, int], stored: int, lost: int) -> None:
    hub = lines("node-1", UP, stored=stored)
    assert close(lines("hub", UP, **agent), hub, UP, waiting=0, node="node-1", at_hub=True).lost == lost


def test_each_node_and_each_direction_has_books_of_its_own() -> None:
    hub = lines("node-1", UP, stored=3) | lines("node-2", UP, stored=5) | lines("node-1", DOWN, created=2, done=2)
    hub |= lines("node-2", DOWN, created=9, done=1)
    agent = lines("hub", UP, created=3, done=3) | lines("hub", DOWN, stored=2)
    assert close(agent, hub, UP, waiting=0, node="node-1", at_hub=True) == Books(created=3, done=3, stored=3)
    assert close(hub, agent, DOWN, waiting=0, node="node-1", at_hub=False) == Books(created=2, done=2, stored=2)


def test_reasons_and_jobs_are_added_up() -> None:
    ledger = {Entry("hub", job, UP, Outcome.DROPPED, reason): 1 for job in ("a", "b") for reason in ("age", "rows")}
    assert total(ledger, Outcome.DROPPED, UP) == total(ledger, Outcome.DROPPED, UP, ["hub", "x"]) == 4
    assert total(ledger, Outcome.DROPPED, UP, []) == total(ledger, Outcome.DONE, UP) == 0
