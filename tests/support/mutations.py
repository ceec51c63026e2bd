"""Payloads that nearly are messages: valid ones with parts dropped, doubled, retyped and cut, in both forms.

They are written by other libraries than ours, which will write what no message of ours can hold. Hypothesis draws
one number for each: drawing every step would take a hundred times as long, and a batch still shrinks to the guilty one.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from copy import deepcopy
from math import inf, nan
from random import Random
from typing import Any, Final

import msgpack
import msgspec

from messages.blobs.shapes import BlobChunk, BlobWant, Span
from messages.shapes import (
    Answer,
    BlobRef,
    Box,
    Boxes,
    Classes,
    Deferral,
    Embedding,
    Envelope,
    HardSample,
    NodeStatus,
    Prediction,
    Reading,
    Receipt,
    Refusal,
    Report,
    Scalar,
    Tensor,
    Text,
)

_HEAD: dict[str, Any] = {"event_id": "s.1", "timestamp": 1, "low": 1}
_TENSOR = Tensor(dtype="float32", shape=(1,), data=b"\x00\x00\x00\x40")
_DIGEST = "0123456789abcdef" * 4
_BLOB = BlobRef(sha256=_DIGEST, size=4, list_sha256=_DIGEST, units=1)
_LARGE = Tensor(dtype="float32", shape=(1,), data=b"", blob=_BLOB)
_WANT = BlobWant(**_HEAD, sha256=_DIGEST, spans=(Span(0, 65_536), Span(65_536, 4)))
_CHUNKS: list[Envelope] = [
    BlobChunk(**_HEAD, sha256=_DIGEST, data=b"abcd"),
    BlobChunk(**_HEAD, sha256=_DIGEST, error="no"),
]
_SAMPLE: dict[str, Any] = {"job": "side", "sample_id": "name", "reason": "hard", "model": "m", "rank": 0.5}
_VALUES = (
    Classes(probs=(0.5, 0.5)), Boxes(boxes=(Box(corners=(0.0, 0.0, 1.0, 1.0), score=0.5),)),
    Scalar(scalar=1.0, confidence=0.5), Text(text="word"),
    Embedding(vector=(0.5, -1.0)),
)  # fmt: skip
_RECEIPT = Receipt(
    **_HEAD, done=("h.0", "s.0"), refused=(Refusal(event_id="h.1", reason="no"),), credit=9,
    later=(Deferral(event_id="h.0", retry_s=5.0, reason="full"), Deferral(event_id="s.0", retry_s=1.0)),
)  # fmt: skip

VALID: Final[dict[str, list[Envelope]]] = {
    "up/status": [NodeStatus(**_HEAD, state=state, session=2, streams=("s",)) for state in ("online", "offline")],
    "up/sample": [
        *(HardSample(**_HEAD, **_SAMPLE, x=_TENSOR, edge=value) for value in _VALUES),
        HardSample(**_HEAD, **_SAMPLE, x=_LARGE, edge=_VALUES[0]),
    ],
    "up/want": [_WANT],
    "up/chunk": _CHUNKS,
    "down/want": [_WANT],
    "down/chunk": _CHUNKS,
    "up/report": [Report(**_HEAD, job="side", session=1, counters={"all": 1.0})],
    "up/receipt": [_RECEIPT],
    "down/receipt": [_RECEIPT],
    "down/answer": [Answer(**_HEAD, job="side", sample_id="name", value=value) for value in (*_VALUES, None)],
    "in/side": [Reading(**_HEAD, x=x) for x in (_TENSOR, [2.0], [0.05])],  # type: ignore[arg-type]
    "out/side": [Prediction(**_HEAD, job="side", sample_id="name", value=None, provisional=True, origin="edge")],
}
"""A message or more by channel; of the other channels only the envelope is read."""

_PLAIN: Final = {path: [msgspec.msgpack.encode(message) for message in messages] for path, messages in VALID.items()}

JUNK: Final[list[Any]] = [
    *(None, True, 0, -1, 7, 2**53, 2**63, 2**64 - 1, -(2**63), 10**40, 1e300, -1e300, 5e-324, nan, inf, -inf),
    *("", "\0", "s.2", "s.999999999999999999", "s.-1", "side", "digits", "é😀" * 90, "\ud800", "%s{}/+#", "a'b\";--"),
    *(b"", b"\xff\xfe", [], {}, [[[]]], [nan], [True], ["1"], [10**40], {"": {"": []}}, {"type": "hologram"}),
    *({"type": "text", "text": "\0", "confidence": nan}, {"dtype": "float32", "shape": [2**53, 0], "data": b""}),
    *(msgpack.ExtType(5, b"x"), msgpack.Timestamp(2**33, 7), [msgpack.ExtType(5, b"x")]),
]

_NOISE: Final = (b"[" * 2000, b"\x91" * 2000, b'{"x":' * 500, b"\x81\xa1x" * 500, b"\x81\x81\x01\x02\x03")


def arrival(paths: Sequence[str], number: int) -> tuple[str, bytes]:
    """A path of these, with bytes that are more or less what belongs there, or what belongs elsewhere."""
    random = Random(number)
    path = random.choice(paths)
    own = path if path in VALID and random.random() < 0.9 else random.choice(tuple(VALID))
    return path, _spoiled(_PLAIN[own], random)


def _spoiled(plain: Sequence[bytes], random: Random) -> bytes:
    tree = msgpack.unpackb(random.choice(plain))
    for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
        place, key = _place(tree, random)
        if key is not None:
            random.choice(_CHANGES)(place, key, deepcopy(random.choice(JUNK)))
    payload = random.choice((_as_json, _as_msgpack))(tree)
    return random.choice(_CUTS)(payload, random.randrange(len(payload)), random)


def _place(tree: Any, random: Random) -> tuple[Any, Any]:
    """Somewhere in a message: what holds it, and under which key or index; no key where there is nothing."""
    place, key, inner = tree, None, tree
    while isinstance(inner, dict | list) and inner and (key is None or random.random() < 0.7):
        place, key = inner, random.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        inner = place[key]
    return place, key


def _drop(place: Any, key: Any, _junk: Any) -> None:
    del place[key]


def _replace(place: Any, key: Any, junk: Any) -> None:
    place[key] = junk


def _double(place: Any, key: Any, _junk: Any) -> None:
    place[key] = [place[key], place[key]]


def _add(place: Any, key: Any, junk: Any) -> None:
    if isinstance(place, list):
        place.append(junk)
    else:
        place[f"{key}2"] = junk


_CHANGES: Final[tuple[Callable[[Any, Any, Any], None], ...]] = (_drop, _replace, _replace, _replace, _double, _add)


def _as_json(tree: Any) -> bytes:
    return json.dumps(tree, default=lambda item: b64encode(item).decode() if isinstance(item, bytes) else 1).encode()


def _as_msgpack(tree: Any) -> bytes:
    written: bytes = msgpack.packb(tree, unicode_errors="surrogatepass", default=str)
    return written


def _whole(payload: bytes, _place: int, _random: Random) -> bytes:
    return payload


def _cut(payload: bytes, place: int, random: Random) -> bytes:
    return payload[:place] + random.choice((b"", *_NOISE))


def _flip(payload: bytes, place: int, random: Random) -> bytes:
    return payload[:place] + bytes([payload[place] ^ (1 << random.randrange(8))]) + payload[place + 1 :]


def _insert(payload: bytes, place: int, random: Random) -> bytes:
    return payload[:place] + random.choice((random.randbytes(3), *_NOISE)) + payload[place:]


def _append(payload: bytes, _place: int, random: Random) -> bytes:
    return payload + random.choice((random.randbytes(3), *_NOISE))


def _other(_payload: bytes, place: int, random: Random) -> bytes:
    return random.randbytes(place)


_CUTS: Final[tuple[Callable[[bytes, int, Random], bytes], ...]] = (
    *[_whole] * 6, _cut, _flip, _insert, _append, _other,
)  # fmt: skip
