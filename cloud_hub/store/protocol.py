"""What the hub's cores need of a database, beyond what delivery needs.

Everything is called inside `transaction()`. Natural keys are the database's business: a sample is stored once for
(node, job, sample_id), whoever resends it.
"""

from collections.abc import Collection, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from msgspec import Struct

from messages.delivery.store import Store
from messages.shapes import HardSample, NodeStatus, Report, Tensor, Value


class Added(StrEnum):
    """What became of a sample: new, there already with the same content, or there with another content."""

    STORED = "stored"
    KNOWN = "known"
    CONFLICT = "conflict"


class Waiting(Struct, frozen=True):
    """A stored sample without an answer. `row` is the database's own id, `received_at` the hub's clock in ms."""

    row: int
    node: str
    job: str
    sample_id: str
    x: Tensor
    received_at: int


class Verdict(Struct, frozen=True):
    """What the big model said of one sample row: a value, or an error when it could not."""

    row: int
    value: Value | None
    error: str = ""


class NodeRecord(Struct, frozen=True):
    """What the hub knows of a node: its last accepted status, and when it was last heard of (hub's clock, ms)."""

    name: str
    status: NodeStatus
    seen_at: int
    online: bool


class SampleTotals(Struct, frozen=True):
    """How many samples a job has, how many of them wait for an answer, and the bytes of their tensors."""

    rows: int = 0
    waiting: int = 0
    bytes: int = 0


class WantedPolicy(Struct, frozen=True):
    """An encoded OffloadPolicy that is wanted for a job on a node ("": on all), with its SHA-256 in hex."""

    job: str
    node: str
    version: int
    digest: str
    document: bytes
    set_at: int


class Issued(Struct, frozen=True):
    """The desired state that a node was sent last: its place, its bytes, and what the node refused of it, and why.

    `fits` stands for what the node could take when it was sent.
    """

    node: str
    epoch: int = 0
    seq: int = 0
    state: bytes = b""
    fits: bytes = b""
    refused: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """What only grows."""
        return self.epoch, self.seq

    @property
    def key(self) -> str:
        """Its natural key in the node's outbox: a restored hub may give a place twice, to different states."""
        return f"{self.epoch}.{self.seq}.{sha256(self.state).hexdigest()[:16]}"


class Samples(Protocol):
    """The hard samples and their answers."""

    def add_sample(self, node: str, sample: HardSample, digest: bytes, received_at: int) -> Added:
        """Store a sample once; `digest` tells whether a second one is the same."""

    def has_sample(self, node: str, job: str, sample_id: str) -> bool:
        """Whether a sample is stored, answered or not."""

    def waiting(self, job: str, limit: int, skip: Collection[int] = ()) -> Sequence[Waiting]:
        """Samples without an answer, oldest first, without the rows in `skip`."""

    def samples(self, rows: Sequence[int]) -> Sequence[Waiting]:
        """The given rows that are still without an answer."""

    def answer(self, verdict: Verdict, model: str, at: int) -> bool:
        """Keep the answer of one sample; False when it has one already."""

    def answered(self, node: str, job: str, sample_id: str) -> tuple[Verdict, str] | None:
        """The answer of a sample and the digest of the model that gave it; None while there is none."""

    def sample_totals(self, job: str) -> SampleTotals:
        """Counts of one job."""

    def drop_samples(self, job: str, rows: int) -> int:
        """Forget the oldest answered samples of a job, at most `rows`; returns how many went."""


class Nodes(Protocol):
    """The nodes that have reported."""

    def node(self, name: str) -> NodeRecord | None:
        """One node, or None."""

    def save_node(self, record: NodeRecord) -> None:
        """Insert or replace a node."""

    def nodes(self) -> Sequence[NodeRecord]:
        """All nodes by name."""

    def save_report(self, node: str, report: Report, at: int) -> None:
        """Keep a node's latest report of a job: the one that has come farthest wins (`progress`)."""

    def reports(self) -> Sequence[tuple[str, Report]]:
        """The latest reports, by node and job."""


class Wanted(Protocol):
    """What nodes should run, and what they were told."""

    def save_policy(self, wanted: WantedPolicy) -> None:
        """Want this policy from now on for its job and node."""

    def policies(self) -> Sequence[tuple[str, str, str]]:
        """Job, node and digest of every policy that is wanted."""

    def policy(self, job: str, node: str) -> WantedPolicy | None:
        """What is wanted for a job on a node: its own, or else everybody's."""

    def policy_document(self, digest: str) -> bytes:
        """The document of a policy that is wanted."""

    def policy_mark(self) -> int:
        """A number that grows whenever a policy is set; 0 before the first."""

    def issued(self, node: str) -> Issued | None:
        """What the node was sent last."""

    def save_issued(self, issued: Issued) -> None:
        """Remember what a node was sent."""


class Jobs(Protocol):
    """The state machines' states and their audit."""

    def load_job(self, job: str) -> bytes | None:
        """The last saved state, as JSON."""

    def save_job(self, job: str, state: bytes) -> None:
        """Replace the state."""

    def log_event(self, job: str, at: int, event: bytes) -> None:
        """Append to the audit; old lines make room."""


def progress(report: Report) -> tuple[int, float]:
    """How far a report has come: in a session counters only grow, while a device's clock may jump."""
    return report.session, sum(report.counters.values())


class HubStore(Store, Samples, Nodes, Wanted, Jobs, Protocol):
    """All that the hub keeps."""
