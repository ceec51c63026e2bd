"""What a broken or hostile client may send: payloads by channel, each with the reason that it must get."""

from math import nan
from random import Random
from typing import Any

import msgspec
import numpy as np

from messages.codec import Format, encode
from messages.shapes import Answer, Classes, Deferral, HardSample, NodeStatus, Receipt, Report, Tensor
from messages.tensors import pack

EVEN = Classes(probs=(0.5, 0.5))
NOISE = b"\xff" + Random(1).randbytes(300)
HUGE = bytes(64_000_000)
DEEP = {"JSON": b'{"event_id":"x.1","timestamp":1,"z":' + b"[" * 10_000, "MessagePack": b"\x81\xa1z" + b"\x91" * 10_000}


def array(*numbers: float, dtype: str = "float32") -> Tensor:
    return pack(np.array(numbers, dtype))


def hard(event_id: str, x: Tensor, **changes: Any) -> HardSample:
    """A sample as `device-2` would send it."""
    fields: dict[str, Any] = {"job": "side", "sample_id": f"sample {event_id}", "edge": EVEN, "reason": "hard"}
    return HardSample(event_id=event_id, timestamp=1, x=x, **(fields | changes))


def altered(message: msgspec.Struct, **fields: object) -> bytes:
    """A message with fields that are none of its shape's."""
    return msgspec.msgpack.encode(msgspec.to_builtins(message, builtin_types=(bytes,)) | fields)


def up(path: str, node: str = "device-2") -> str:
    return f"default/skerry/v1/{node}/{path}"


HARD = hard("x.1", array(1.0))
UNREADABLE = [
    ("up/sample", b"", "empty payload"),
    ("up/sample", NOISE, "first byte 0xff: neither a MessagePack map nor JSON"),
    ("up/sample", encode(HARD)[:60], "DecodeError: "),
    ("up/sample", encode(HARD, Format.JSON)[:60], "DecodeError: "),
    ("up/sample", DEEP["JSON"], "Error: "),
    ("up/sample", DEEP["MessagePack"], "Error: "),
    ("up/sample", encode(hard("no id", array(1.0))), "event_id 'no id': not stream.seq"),
    ("up/sample", encode(hard("x.1", array(1.0), low=2)), "low 2 lies above the message's own id x.1"),
    ("up/report", NOISE, "first byte 0xff"),
    ("up/receipt", b"\x80", "Object missing required field `event_id`"),
    ("up/receipt", encode(Receipt(event_id="r", timestamp=1, credit=1, later=(Deferral(event_id="h.1", retry_s=nan),))),
     "at `$.later[0].retry_s`"),
    ("up/status", DEEP["JSON"], "Error: "),
    ("up/status", encode(NodeStatus(event_id="s", timestamp=1, state="online", session=9, beat_s=nan)), "`$.beat_s`"),
    ("up/no-channel", NOISE, "first byte 0xff"),
]  # fmt: skip
"""What has no id that could be refused: the channel, the bytes and the reason."""

REFUSED = [
    ("up/sample", encode(hard("x.1", array(1.0, 2.0))), "x.shape is (2,), job side takes (1,)"),
    ("up/sample", encode(hard("x.2", array(1.0, dtype="int8"))), "x.dtype is int8, job side takes float32"),
    ("up/sample", encode(hard("x.3", Tensor(dtype="float32", shape=(1,), data=b"123"))), "x.data has 3 bytes"),
    ("up/sample", encode(hard("x.4", array(nan))), "x has nan at index 0"),
    ("up/sample", encode(hard("x.5", array(1.0), rank=nan)), "at `$.rank`"),
    ("up/sample", altered(hard("x.6", array(1.0)), x="text"), "Expected `object`, got `str` - at `$.x`"),
    ("up/sample", encode(hard("x.7", array(*range(252_000)))), "bytes: at most 1000000 travel"),
    ("up/sample", encode(hard("s.1", array(2.0))), "id was used before with other content"),
    ("up/sample", encode(hard("x.8", array(2.0), sample_id="sample s.1")), "'sample s.1' has other content here"),
    ("up/sample", encode(hard("x.9999", array(2.0))), "id lies too far above the oldest without a receipt"),
    ("up/report", encode(Report(event_id="x.9", timestamp=1, job="side", session=1, counters={"all": nan})),
     "at `$.counters[...]`"),
]  # fmt: skip
"""What is refused by its id."""

LATER = [
    ("up/sample", altered(hard("x.20", array(1.0)), edge={"type": "hologram"}), "this hub does not take up/sample"),
    ("up/sample", encode(hard("x.21", array(1.0), job="letters")), "job 'letters' is not in this hub's configuration"),
    ("up/unheard-of", altered(hard("x.22", array(1.0))), "this hub does not take up/unheard-of"),
]
"""What a later version or another configuration may take."""

DENIED = [
    "default/skerry/v9/device-2/up/sample",
    up("up/sample", "device-1"),
    up("down/answer", "device-1"),
    up("down/answer"),
    "elsewhere/skerry/v1/device-2/up/sample",
    "$SYS/broker/version",
]
"""Topics that are not the stranger's: the generated access rules say no."""


def answer(event_id: str, **changes: Any) -> Answer:
    """An answer as the hub would send it."""
    fields: dict[str, Any] = {"job": "side", "sample_id": "r0", "value": EVEN}
    return Answer(event_id=event_id, timestamp=1, **(fields | changes))


DOWN = "default/skerry/v1/device-1/down/"
DOWNWARD = [
    ("answer", b"", "empty payload"),
    ("answer", encode(answer("h.1"))[:40], "DecodeError: "),
    ("answer", encode(answer("h.1"), Format.JSON)[:40], "DecodeError: "),
    ("answer", DEEP["JSON"], "Error: "),
    ("answer", DEEP["MessagePack"], "Error: "),
    ("answer", encode(answer("no id")), "event_id 'no id': not stream.seq"),
    ("answer", encode(answer("h.1", low=2)), "low 2 lies above the message's own id h.1"),
    ("answer", altered(answer("h.1"), value={"type": "classes", "probs": ["much"]}), "got `str` - at `$.value.probs"),
    ("answer", altered(answer("h.1"), value={"type": "boxes", "boxes": [{"corners": [1.0], "score": 1.0}]}), "corners"),
    ("answer", altered(answer("h.1"), value={"type": "hologram"}), "Invalid value 'hologram'"),
    ("answer", encode(answer("h.1", value=Classes(probs=(nan, 1.0)))), "value holds NaN or infinity"),
    ("answer", encode(answer("h.1", job="a/b")), "job 'a/b': use 1 to 63 of A-Z a-z 0-9"),
    ("receipt", b"\x80", "Object missing required field `event_id`"),
    ("receipt", encode(Receipt(event_id="r", timestamp=1, credit=1, later=(Deferral(event_id="h.1", retry_s=nan),))),
     "at `$.later[0].retry_s`"),
    ("desired", encode(HARD), "refused: Object missing required field `state`"),
    ("round", encode(HARD), "a channel that this version does not take"),
    ("unheard-of", NOISE, "a channel that this version does not take"),
]  # fmt: skip
"""What an agent cannot use: the channel, the bytes and the reason."""
