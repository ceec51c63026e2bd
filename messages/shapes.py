"""The messages: one frozen struct per thing that travels.

Rule of evolution: a shape is frozen in the version that first sends and uses it (see `tests/golden/v1`). After that
fields are only added, each with a default, and never change their meaning. Times are milliseconds since 1970 on the
sender's clock, which may be wrong.
"""

from sys import float_info
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

Natural = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A whole number that every JSON reader and every database can hold. JSON itself has no bound: 40 digits are one
number, and would fail only later, where they are stored."""

Finite = Annotated[float, Meta(ge=-float_info.max, le=float_info.max)]
"""A number that a database and JSON can hold, which is neither NaN nor infinity."""


class Envelope(Struct, frozen=True, kw_only=True):
    """The part of every message that delivery reads; it is decoded before the body, so a bad body can be refused by id.

    `event_id` is `"{stream}.{seq}"` for what travels through an outbox, any string for the rest. `low` is the oldest
    sequence number of that stream that has no receipt yet.
    """

    event_id: str
    timestamp: Natural
    low: Natural = 0


class JobMessage(Envelope, frozen=True, kw_only=True):
    """A message that belongs to one job, by the job's name."""

    job: str


Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 in hex: the name of a blob, and of its file."""


class BlobRef(Struct, frozen=True, kw_only=True):
    """Content that travels by itself because it is large: its digest, its bytes, and the digest of its list of units.

    The list says how the content is cut (see `messages/blobs/units.py`) and is itself content, of 36 bytes a unit.
    """

    sha256: Sha256
    size: Natural
    list_sha256: Sha256
    units: Annotated[int, Meta(ge=1, le=2**32)]


class Tensor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An array: NumPy dtype name, shape, and its raw little-endian bytes in C order.

    Where `encoding` is not empty, `data` is those bytes written so that fewer travel: see `messages/encodings.py`.
    Where there is a `blob`, it holds the bytes, and `data` is empty.
    """

    dtype: str
    shape: tuple[Natural, ...]
    data: bytes
    encoding: str = ""
    blob: BlobRef | None = None

    @property
    def size(self) -> int:
        """How many bytes travel of it, here or by themselves."""
        return len(self.data) if self.blob is None else self.blob.size


class Classes(Struct, frozen=True, kw_only=True, tag="classes"):
    """Class probabilities, in the order of the model's classes; they sum to one."""

    probs: tuple[float, ...]


class Box(Struct, frozen=True, kw_only=True):
    """A detected object: corners in pixels (x1, y1, x2, y2), score in [0, 1], class index."""

    corners: tuple[float, float, float, float]
    score: float
    label: Natural = 0


class Boxes(Struct, frozen=True, kw_only=True, tag="boxes"):
    """Detected objects; none is a result too."""

    boxes: tuple[Box, ...]


class Scalar(Struct, frozen=True, kw_only=True, tag="scalar"):
    """A regression result, with the model's own confidence in [0, 1] where it has one."""

    scalar: float
    confidence: float | None = None


class Text(Struct, frozen=True, kw_only=True, tag="text"):
    """A text result, with the model's own confidence in [0, 1] where it has one."""

    text: str
    confidence: float | None = None


class Embedding(Struct, frozen=True, kw_only=True, tag="embedding"):
    """A vector that stands for the sample, with the model's own confidence in [0, 1] where it has one."""

    vector: tuple[float, ...]
    confidence: float | None = None


Value = Classes | Boxes | Scalar | Text | Embedding
"""What a model says of one sample."""


class HardSample(JobMessage, frozen=True, kw_only=True):
    """A sample the agent could not decide alone, with what the edge model said of it.

    `rank` orders samples by worth: the lowest are dropped first when an outbox is full. `model` is the digest of the
    edge model. Natural key: (node, job, sample_id).
    """

    sample_id: str
    x: Tensor
    edge: Value
    reason: str
    rank: Finite = 0.0
    model: str = ""
    audit: bool = False


class Answer(JobMessage, frozen=True, kw_only=True):
    """The big model's result for one sample. `error` says why there is none. Natural key: (node, job, sample_id)."""

    sample_id: str
    value: Value | None
    model: str = ""
    error: str = ""


class Reading(JobMessage, frozen=True, kw_only=True):
    """A sample that another app on the device hands in: a typed array, or nested lists of numbers.

    `event_id` is the app's own, and must be another for every sample. The topic names the job; `sample_id` is the
    event's id where it is left out, and a `timestamp` of 0 is now.
    """

    timestamp: Natural = 0
    job: str = ""
    sample_id: str = ""
    x: Tensor | list[object]


class Prediction(JobMessage, frozen=True, kw_only=True):
    """A result for the apps on the device. `provisional` says that the cloud's answer will follow, same `sample_id`.

    `low_trust`: the edge's answer stays although it is doubtful, for the budget forbids to ask the hub.
    """

    sample_id: str
    value: Value | None
    provisional: bool
    origin: Literal["edge", "cloud"]
    reason: str = ""
    low_trust: bool = False


class Link(Struct, frozen=True, kw_only=True):
    """What a node sees of its link: protocol ("3.1.1" or "5"), connects since its start, round trip in ms."""

    protocol: str = ""
    connects: Natural = 0
    round_trip_ms: Finite = 0.0


class NodeStatus(Envelope, frozen=True, kw_only=True):
    """Birth, heartbeat and death of a node. `session` only grows; an `offline` of an older session means nothing.

    `streams` are the outbox streams that still have rows, `releases` maps each job to its running model's digest.
    `desired` is the place (epoch, seq) of the last desired state that was accepted, `refusal` why the last one was not,
    or not all of it. `policies` maps each job that takes policies to the digest of the one that it has ("": none yet).
    `key_epoch` is that of its key list (0: none has come yet; null: it trusts fixed keys, and takes none).
    """

    state: Literal["online", "offline"]
    session: Natural
    beat_s: Finite = 30.0
    backlog_rows: Natural = 0
    backlog_bytes: Natural = 0
    streams: tuple[str, ...] = ()
    releases: dict[str, str] = {}
    link: Link = Link()
    version: str = ""
    desired: tuple[Natural, Natural] = (0, 0)
    refusal: str = ""
    policies: dict[str, str] = {}
    key_epoch: Natural | None = None


class Alarm(Struct, frozen=True, kw_only=True):
    """The world has changed, or what should be sent is more than may be. `number` counts up in a session.

    It began `at` and was over at `until` (0: it holds).
    """

    number: Natural
    kind: Literal["shift", "over budget"]
    at: Natural
    until: Natural = 0
    text: str = ""


class Report(JobMessage, frozen=True, kw_only=True):
    """Counters of one job since the agent's start (`session`): aggregated, never one message per inference.

    `counters` only grow; `gauges` are what may fall too, such as the budget in force. `alarms` are the last ones.
    """

    session: Natural
    counters: dict[str, Finite]
    gauges: dict[str, Finite] = {}
    alarms: tuple[Alarm, ...] = ()


class Refusal(Struct, frozen=True, kw_only=True):
    """An id that will never be accepted, and why."""

    event_id: str
    reason: str


class Deferral(Struct, frozen=True, kw_only=True):
    """An id that was not stored now; send it again after `retry_s` seconds."""

    event_id: str
    retry_s: Finite
    reason: str = ""


class Receipt(Envelope, frozen=True, kw_only=True):
    """Ids that are now durable at the receiver, or will not be. `credit` is how many messages may be in flight.

    A receipt without ids only says "I am here, and this is your credit".
    """

    done: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    later: tuple[Deferral, ...] = ()
    credit: Natural


MAX_STATE: Final = 16_384
"""Bytes of an encoded DesiredState."""

MAX_DOCUMENTS: Final = 98_304
"""Bytes of all documents that travel inside one Desired."""

STALE: Final = "stale: "
"""So begins the reason when a desired state is refused because its place (epoch, seq) is taken."""

PARTLY: Final = "partly: "
"""So begins the reason when a desired state is accepted, but not all of its documents."""


class DesiredState(Struct, frozen=True, kw_only=True):
    """What one node should run: the SHA-256 (hex) of each document by its name, such as "policy/digits".

    Of two states of a node the one with the higher (`epoch`, `seq`) counts. Names that are left out stay as they are.
    """

    node: str
    epoch: Natural
    seq: Natural
    digests: dict[str, str]


class Signature(Struct, frozen=True, kw_only=True):
    """Who signed, by the key's id (see `messages/signing.py`), and the 64 bytes of Ed25519."""

    key: str
    signature: bytes


class Desired(Envelope, frozen=True, kw_only=True):
    """A node's desired state: `state` is a DesiredState in MessagePack, and just these bytes are signed.

    `documents` are those that are small enough to travel along, by their digests. One valid signature of a key that
    the node trusts is enough. `key_list` is a KeyList (see `messages/signing.py`) with a root's signatures, for a node
    that has an older one. Natural key: (node, epoch, seq).
    """

    state: bytes
    signatures: Annotated[tuple[Signature, ...], Meta(max_length=8)]
    documents: dict[str, bytes] = {}
    key_list: bytes = b""
    key_signatures: Annotated[tuple[Signature, ...], Meta(max_length=8)] = ()
