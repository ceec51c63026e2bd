"""What hub and worker say to each other over the worker's stdin and stdout: MessagePack behind a length."""

import struct
from collections.abc import Callable
from typing import BinaryIO, Final

from msgspec import Struct, msgpack

from cloud_hub.store.protocol import Verdict
from messages.shapes import Tensor

HEAD: Final = struct.Struct(">I")


class Load(Struct, frozen=True, tag=True):
    """The first thing said to a worker: the factory, the model file for it, and the folder of the user's modules."""

    predictor: str
    model: str
    folder: str


class Batch(Struct, frozen=True, tag=True):
    """Samples to predict, each with its row in the hub's database."""

    samples: tuple[tuple[int, Tensor], ...]


class Loaded(Struct, frozen=True, tag=True):
    """The model is there; `digest` names its file's content (sha256, hex), empty without a file."""

    digest: str


class Broken(Struct, frozen=True, tag=True):
    """The model cannot be loaded, and trying again will not help before someone changes something."""

    reason: str


class Answers(Struct, frozen=True, tag=True):
    """One verdict for each sample of the batch."""

    verdicts: tuple[Verdict, ...]


ToWorker = Load | Batch
ToHub = Loaded | Broken | Answers

_encode = msgpack.Encoder().encode


def framed(message: ToWorker | ToHub) -> bytes:
    """A message as it goes through the pipe."""
    body = _encode(message)
    return HEAD.pack(len(body)) + body


to_worker: Callable[[bytes], ToWorker] = msgpack.Decoder(ToWorker).decode
"""What the hub says."""

to_hub: Callable[[bytes], ToHub] = msgpack.Decoder(ToHub).decode
"""What a worker says."""


def read_frame(pipe: BinaryIO) -> bytes | None:
    """The next frame's body; None when the other end is gone."""
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    (size,) = HEAD.unpack(head)
    body = pipe.read(size)
    return body if len(body) == size else None
