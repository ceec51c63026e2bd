"""Bytes and shapes: MessagePack or JSON text, told apart by the first byte.

A message waits in an outbox as a body without envelope; `seal` puts the envelope in front when it is sent, because
`low` moves with every send and a body of 90 KB should be encoded once.
"""

import functools
from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from typing import TypeVar

import msgspec

from messages.shapes import Envelope

T = TypeVar("T", bound=msgspec.Struct)

_JSON_STARTS = b"{ \t\r\n"


class BadPayload(ValueError):
    """Bytes that are not the shape that their channel carries. `newer` says that a later version may know it."""

    def __init__(self, reason: str, *, newer: bool = False) -> None:
        super().__init__(reason)
        self.newer = newer


class Format(StrEnum):
    """How bodies are written. Both are read everywhere."""

    MSGPACK = "msgpack"
    JSON = "json"


@functools.cache
def _decoder(shape: type[T], form: Format) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(shape).decode if form is Format.JSON else msgspec.msgpack.Decoder(shape).decode


_MSGPACK = msgspec.msgpack.Encoder()
_JSON = msgspec.json.Encoder()


def form_of(payload: bytes) -> Format:
    """Which of the two a payload is, by its first byte. Raises BadPayload when it is neither."""
    first = payload[0] if payload else None
    if first is not None and first in _JSON_STARTS:
        return Format.JSON
    if first is not None and (0x80 <= first <= 0x8F or first in (0xDE, 0xDF)):
        return Format.MSGPACK
    if first is None:
        raise BadPayload("empty payload")
    raise BadPayload(f"first byte 0x{first:02x}: neither a MessagePack map nor JSON")


def decode(shape: type[T], payload: bytes) -> T:
    """Read a payload as `shape`. Raises BadPayload with the path of the field that is wrong."""
    try:
        message: T = _decoder(shape, form_of(payload))(payload)
        return message
    except msgspec.ValidationError as error:
        raise BadPayload(str(error), newer="Invalid value" in str(error) and ".type" in str(error)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise BadPayload(f"{type(error).__name__}: {str(error)[:200]}") from error


def encode(message: msgspec.Struct, form: Format = Format.MSGPACK) -> bytes:
    """Write a whole message, envelope and body."""
    return _JSON.encode(message) if form is Format.JSON else _MSGPACK.encode(message)


def encode_body(message: Envelope, form: Format = Format.MSGPACK) -> bytes:
    """Write a message without `event_id` and `low`, to be completed by `seal`."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__ if name not in ("event_id", "low")}
    return _JSON.encode(fields) if form is Format.JSON else _MSGPACK.encode(fields)


def seal(body: bytes, event_id: str, low: int) -> bytes:
    """Put the envelope in front of a body that `encode_body` wrote, in the body's own form."""
    if form_of(body) is Format.JSON:
        head = _JSON.encode({"event_id": event_id, "low": low})
        return head[:-1] + b"," + body[1:] if len(body) > 2 else head
    pairs, start = _map_size(body)
    head = _MSGPACK.encode("event_id") + _MSGPACK.encode(event_id) + _MSGPACK.encode("low") + _MSGPACK.encode(low)
    return _map_header(pairs + 2) + head + body[start:]


def fingerprint(message: Envelope) -> bytes:
    """Eight bytes that tell one content from another, whatever `low` says and however it was written."""
    return sha256(_MSGPACK.encode(msgspec.structs.replace(message, low=0))).digest()[:8]


def _map_size(body: bytes) -> tuple[int, int]:
    """How many pairs a MessagePack map has, and where they begin."""
    if body[0] == 0xDE:
        return int.from_bytes(body[1:3], "big"), 3
    if body[0] == 0xDF:
        return int.from_bytes(body[1:5], "big"), 5
    return body[0] & 0x0F, 1


def _map_header(pairs: int) -> bytes:
    if pairs < 16:
        return bytes([0x80 | pairs])
    return b"\xde" + pairs.to_bytes(2, "big") if pairs < 65_536 else b"\xdf" + pairs.to_bytes(4, "big")
