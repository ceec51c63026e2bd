"""What goes into the node's core and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

from edge_agent.core.readings import Handed
from messages.codec import Format
from messages.delivery.bounds import Caps
from messages.delivery.receiver import Verdict
from messages.delivery.rows import Kind, Row
from messages.delivery.sender import Pace
from messages.shapes import Answer, Prediction, Value
from messages.signing import PublicKey


class NodeOptions(Struct, frozen=True, kw_only=True):
    """Who the node is, how it sends, and whose signature counts. `caps` bounds the outbox by kind.

    With `roots` the key lists that they sign say which keys count, and `keys` do not.
    """

    node: str
    namespace: str = "default"
    version: str = ""
    form: Format = Format.MSGPACK
    beat_s: float = 30.0
    pace: Pace = Pace()
    caps: Mapping[Kind, Caps] = {}
    keys: tuple[PublicKey, ...] = ()
    roots: tuple[PublicKey, ...] = ()


class Observation(Struct, frozen=True, kw_only=True):
    """One sample with what the edge model and the policy said of it; `handed` when another app handed it in."""

    job: str
    sample_id: str
    value: Value
    offload: bool
    reason: str
    rank: float = 0.0
    model: str = ""
    audit: bool = False
    low_trust: bool = False
    handed: Handed | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """A message to publish: the channel's path and the payload."""

    path: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that was read but is not settled: deliver `final` (if any) to the apps, then call `settle`."""

    answer: Answer
    content: bytes
    verdict: Verdict
    final: Prediction | None = None

    @property
    def bad(self) -> bool:
        """Whether its id or its content is impossible."""
        return self.verdict in (Verdict.CONFLICT, Verdict.TOO_FAR)


class Told(Enum):
    """What became of a final prediction: the apps have it, they could not be reached, or the sink failed."""

    TOLD = "told"
    AWAY = "away"
    FAILED = "failed"


def final(answer: Answer, at: int) -> Prediction:
    """The cloud's answer, as the apps hear it."""
    return Prediction(
        event_id=answer.event_id, timestamp=at, job=answer.job, sample_id=answer.sample_id, value=answer.value,
        provisional=False, origin="cloud", reason=answer.error,
    )  # fmt: skip


def unanswered(row: Row, reason: str, at: int) -> Prediction:
    """What the apps hear when no answer will come."""
    return Prediction(
        event_id=row.key, timestamp=at, job=row.job, sample_id=row.key, value=None, provisional=False, origin="edge",
        reason=f"no answer: {reason}",
    )  # fmt: skip
