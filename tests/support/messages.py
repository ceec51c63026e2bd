"""One message of each shape that this version sends, small and complete, and strategies for any other."""

from hashlib import sha256
from typing import Any, Final

import hypothesis.strategies as st
from msgspec import msgpack, structs

from messages.blobs.shapes import BlobChunk, BlobWant, Span
from messages.shapes import (
    Answer,
    BlobRef,
    Box,
    Boxes,
    Classes,
    Deferral,
    Desired,
    Embedding,
    Envelope,
    HardSample,
    Link,
    NodeStatus,
    Prediction,
    Reading,
    Receipt,
    Refusal,
    Report,
    Scalar,
    Signature,
    Tensor,
    Text,
    Value,
)
from messages.signing import Signer

TENSOR: Final = Tensor(dtype="uint8", shape=(2, 2), data=b"\x00\x01\xfe\xff")
AT: Final = 1_700_000_000_000

SIGNER: Final = Signer(bytes(range(32)))
DOCUMENT: Final = b'{"job":"digits","version":2,"terms":{"budget":0.05}}'
DIGEST: Final = sha256(DOCUMENT).hexdigest()
STATE: Final = msgpack.encode({"node": "cam-1", "epoch": 1, "seq": 7, "digests": {"policy/digits": DIGEST}})

SENT: Final[dict[str, Envelope]] = {
    "NodeStatus": NodeStatus(
        event_id="8f3a-r.1", timestamp=AT, state="online", session=AT, beat_s=30.0, backlog_rows=3, backlog_bytes=4096,
        streams=("8f3a", "17bc"), releases={"digits": "sha256:ab12"},
        link=Link(protocol="5", connects=2, round_trip_ms=12.5), version="0.1.0",
    ),
    "HardSample": HardSample(
        event_id="8f3a.7", timestamp=AT, low=5, job="digits", sample_id="cam-1-000007", x=TENSOR,
        edge=Classes(probs=(0.5, 0.25, 0.25)), reason="cross_entropy", rank=0.75, model="sha256:ab12", audit=True,
    ),
    "Answer": Answer(
        event_id="77aa.3", timestamp=AT, low=3, job="digits", sample_id="cam-1-000007",
        value=Boxes(boxes=(Box(corners=(1.0, 2.0, 30.5, 40.0), score=0.9, label=4),)), model="sha256:cd34",
    ),
    "Report": Report(
        event_id="8f3a.8", timestamp=AT, low=5, job="digits", session=AT, counters={"all": 100.0, "hard": 9.0},
    ),
    "Receipt": Receipt(
        event_id="77aa-r.9", timestamp=AT, done=("8f3a.5", "8f3a.6"),
        refused=(Refusal(event_id="8f3a.7", reason="x has nan at index 3"),),
        later=(Deferral(event_id="8f3a.8", retry_s=10.0, reason="disk full"),), credit=64,
    ),
    "Desired": Desired(
        event_id="77aa.4", timestamp=AT, low=3, state=STATE, signatures=(SIGNER.sign(STATE),),
        documents={DIGEST: DOCUMENT},
    ),
    "BlobWant": BlobWant(
        event_id="b.5", timestamp=AT, sha256=DIGEST, spans=(Span(0, 65_536), Span(131_072, 20_480)),
    ),
    "BlobChunk": BlobChunk(event_id="b.6", timestamp=AT, sha256=DIGEST, offset=131_072, data=b"\x00\x01\xfe\xff"),
}  # fmt: skip
"""By the shape's name: what is frozen in `tests/golden/v1`."""

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NATURALS = st.integers(0, 2**53 - 1)
WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
BLOBS = st.builds(BlobRef, sha256=DIGESTS, size=NATURALS, list_sha256=DIGESTS, units=st.integers(1, 2**32))
TENSORS = st.builds(
    Tensor, dtype=WORDS, shape=st.lists(NATURALS, max_size=4).map(tuple), data=st.binary(max_size=60),
    blob=st.none() | BLOBS,
)  # fmt: skip
SPANS = st.builds(Span, offset=NATURALS, length=st.integers(1, 65_536))
BOXES = st.builds(Box, corners=st.tuples(*[NUMBERS] * 4), score=NUMBERS, label=NATURALS)
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.builds(Classes, probs=st.lists(NUMBERS, max_size=20).map(tuple)),
    st.builds(Boxes, boxes=st.lists(BOXES, max_size=3).map(tuple)),
    st.builds(Scalar, scalar=NUMBERS, confidence=st.none() | NUMBERS),
    st.builds(Text, text=WORDS, confidence=st.none() | NUMBERS),
    st.builds(Embedding, vector=st.lists(NUMBERS, max_size=9).map(tuple), confidence=st.none() | NUMBERS),
)
_HEAD: dict[str, Any] = {"event_id": WORDS, "timestamp": NATURALS, "low": NATURALS}
_JOB: dict[str, Any] = _HEAD | {"job": WORDS}
_REFUSALS = st.lists(st.builds(Refusal, event_id=WORDS, reason=WORDS), max_size=3).map(tuple)
_DEFERRALS = st.lists(st.builds(Deferral, event_id=WORDS, retry_s=NUMBERS, reason=WORDS), max_size=3).map(tuple)

MESSAGES: st.SearchStrategy[Envelope] = st.one_of(
    st.builds(Envelope, **_HEAD),
    st.builds(HardSample, **_JOB, sample_id=WORDS, x=TENSORS, edge=VALUES, reason=WORDS, rank=NUMBERS, model=WORDS),
    st.builds(Answer, **_JOB, sample_id=WORDS, value=st.none() | VALUES, model=WORDS, error=WORDS),
    st.builds(
        Desired, **_HEAD, state=st.binary(max_size=60),
        signatures=st.lists(st.builds(Signature, key=WORDS, signature=st.binary(max_size=64)), max_size=3).map(tuple),
        documents=st.dictionaries(WORDS, st.binary(max_size=60), max_size=3),
    ),
    st.builds(BlobWant, **_HEAD, sha256=DIGESTS, spans=st.lists(SPANS, min_size=1, max_size=9).map(tuple)),
    st.builds(BlobChunk, **_HEAD, sha256=DIGESTS, offset=NATURALS, data=st.binary(max_size=60), error=WORDS),
    st.builds(Report, **_JOB, session=NATURALS, counters=st.dictionaries(WORDS, NUMBERS, max_size=20)),
    st.builds(Reading, **_JOB, sample_id=WORDS, x=TENSORS),
    st.builds(Prediction, **_JOB, sample_id=WORDS, value=VALUES, provisional=st.booleans(), origin=st.just("edge")),
    st.builds(
        NodeStatus, **_HEAD, state=st.sampled_from(["online", "offline"]), session=NATURALS, beat_s=NUMBERS,
        streams=st.lists(WORDS, max_size=3).map(tuple), releases=st.dictionaries(WORDS, WORDS, max_size=3),
    ),
    st.builds(
        Receipt, **_HEAD, done=st.lists(WORDS, max_size=9).map(tuple), refused=_REFUSALS, later=_DEFERRALS,
        credit=NATURALS,
    ),
)  # fmt: skip
"""Any message, and all that fits into one."""


def with_envelope(message: Envelope, event_id: str, low: int) -> Envelope:
    """The message as it is once it has its place in a stream."""
    return structs.replace(message, event_id=event_id, low=low)
