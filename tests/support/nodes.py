"""A hub's core and nodes' cores on memory stores, and the messages between them, one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from cloud_hub.ingest.core import HubCore
from cloud_hub.ingest.exchange import Arrival, HubOptions, Output
from cloud_hub.ingest.inference import JobSpec
from cloud_hub.jobs.joint_inference import Spec
from messages import channels
from messages.channels import CHANNELS
from messages.codec import decode, encode
from messages.delivery.memory import MemoryStore
from messages.delivery.rows import Outcome
from messages.delivery.store import StoreFull
from messages.shapes import Classes, Envelope, HardSample, NodeStatus, Receipt, Tensor
from tests.simulation.hub_store import MemoryHubStore

AT = 1_700_000_000_000
EDGE = Classes(probs=(0.6, 0.4))
CLOUD = Classes(probs=(0.1, 0.9))
JOBS = {"digits": JobSpec(dtype="uint8", shape=(2, 2), batch=Spec(batch_size=4, batch_wait_s=0.0))}


class FullStore(MemoryStore):
    """A store whose disk can be full: then no transaction that changed something commits."""

    full = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As the real one, when there is room."""
        with super().transaction():
            yield
            if self.full and self._undo:
                raise StoreFull("database or disk is full")


class HubStore(MemoryHubStore, FullStore):
    """A hub's store whose disk can be full."""


def topic(path: str, node: str = "cam-1") -> str:
    return CHANNELS[path].topic("default", node)


def tensor(*values: int) -> Tensor:
    return Tensor(dtype="uint8", shape=(2, 2), data=bytes(values or (0, 1, 2, 3)))


def sample(seq: int = 0, **changes: object) -> HardSample:
    """A hard sample as `cam-1` would send it."""
    fields: dict[str, object] = {
        "event_id": f"s.{seq}", "timestamp": AT, "job": "digits", "sample_id": f"sample-{seq}", "x": tensor(),
        "edge": EDGE, "reason": "cross_entropy",
    }  # fmt: skip
    return HardSample(**(fields | changes))  # type: ignore[arg-type]


def status(state: str = "online", session: int = 1, **changes: object) -> NodeStatus:
    """What `cam-1` says of itself."""
    fields: dict[str, object] = {"event_id": "s-r.1", "timestamp": AT, "state": state, "session": session}
    return NodeStatus(**(fields | changes))  # type: ignore[arg-type]


class Hub:
    """A hub's core with its store."""

    def __init__(self, store: HubStore | None = None, *, stream: str = "h", **options: Any) -> None:
        self.store = store or HubStore()
        jobs = options.pop("jobs", JOBS)
        self.core = HubCore(self.store, HubOptions(**options), jobs, stream=stream, random=Random(1))
        self.now = 0.0
        self.core.start(self.now, AT)

    def take(self, message: Envelope, node: str = "cam-1", path: str = "up/sample") -> Receipt:
        """Receive one message and read the receipt."""
        return self.receipt(self.receive(encode(message), topic(path, node)))

    def receive(self, payload: bytes, on: str | None = None, *, retained: bool = False) -> Output:
        """Receive one payload."""
        return self.core.receive([Arrival(topic("up/sample") if on is None else on, payload, retained)], self.now, AT)

    def receipt(self, out: Output) -> Receipt:
        """The one receipt among what is sent."""
        (found,) = [post.payload for post in out.posts if post.path == channels.DOWN_RECEIPT.path]
        return decode(Receipt, found)

    def books(self) -> dict[str, int]:
        """Sums of the ledger by outcome."""
        sums: dict[str, int] = {}
        for entry, number in self.store.ledger().items():
            sums[entry.outcome] = sums.get(entry.outcome, 0) + number
        return sums

    def number(self, outcome: Outcome) -> int:
        """One sum of the ledger."""
        return self.books().get(outcome, 0)

    def bad(self) -> list[str]:
        """The reasons in quarantine."""
        return [item.reason for item in self.store.quarantined]
