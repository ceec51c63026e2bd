"""A disk that has no room for the books must not keep back what is sent again: only that makes room."""

from random import Random

from edge_agent.core.exchange import NodeOptions, Observation
from edge_agent.core.node import NodeCore
from messages.delivery.memory import MemoryStore
from messages.delivery.rows import Entry, Outcome
from messages.delivery.store import StoreFull
from messages.shapes import Classes, Tensor

X = Tensor(dtype="uint8", shape=(1,), data=b"x")


class FullBooks(MemoryStore):
    """A store that has room for everything but another line in the ledger."""

    full = False

    def count(self, entry: Entry, number: int = 1) -> None:
        if self.full:
            raise StoreFull("database or disk is full")
        super().count(entry, number)


def hard(sample_id: str) -> Observation:
    return Observation(
        job="a", sample_id=sample_id, value=Classes(probs=(0.5, 0.5)), offload=True, reason="entropy", rank=1.0
    )


def test_rows_in_flight_are_sent_again_while_the_loss_of_others_waits_to_be_written() -> None:
    store = FullBooks()
    core = NodeCore(store, NodeOptions(node="device-1"), stream="s", random=Random(0))
    core.connected()
    assert core.observe(hard("kept"), X, 0.0, 0).provisional
    assert len(core.due(0.0, 0)) == 1
    store.full = True
    assert not core.observe(hard("lost"), X, 1.0, 0).provisional
    assert len(core.due(10.0, 0)) == 1
    store.full = False
    core.due(20.0, 0)
    assert [entry.reason for entry in store.ledger() if entry.outcome is Outcome.DROPPED] == ["disk full"]
