"""Bytes become messages and messages bytes, in both forms, and bad bytes are only ever `BadPayload`."""

import json
import tracemalloc
from base64 import b64encode

import hypothesis.strategies as st
import msgpack
import msgspec
import pytest
from hypothesis import given, settings

from messages.codec import BadPayload, Format, decode, encode, encode_body, fingerprint, form_of, seal
from messages.shapes import Answer, Envelope, HardSample, NodeStatus, Receipt, Report
from tests.support.messages import AT, MESSAGES, SENT, WORDS, with_envelope

FORMS = st.sampled_from(Format)
SHAPES = (Envelope, NodeStatus, HardSample, Answer, Report, Receipt)


@given(MESSAGES, FORMS)
def test_every_message_survives_the_way_in_both_forms(message: Envelope, form: Format) -> None:
    payload = encode(message, form)
    assert form_of(payload) is form
    assert decode(type(message), payload) == message


@given(MESSAGES, FORMS, WORDS, st.integers(0, 2**53 - 1))
def test_a_sealed_body_is_the_whole_message(message: Envelope, form: Format, event_id: str, low: int) -> None:
    sealed = seal(encode_body(message, form), event_id, low)
    assert form_of(sealed) is form
    assert decode(type(message), sealed) == with_envelope(message, event_id, low)


@pytest.mark.parametrize("fields", [0, 1, 13, 14, 15, 16, 65_533])
def test_a_body_of_any_size_can_be_sealed(fields: int) -> None:
    body = msgspec.msgpack.encode({f"field-{i}": i for i in range(fields)} | {"timestamp": 1})
    envelope = decode(Envelope, seal(body, "s.1", 1))
    assert (envelope.event_id, envelope.timestamp, envelope.low) == ("s.1", 1, 1)


def test_a_body_from_another_encoder_can_be_sealed() -> None:
    wide = b"\xdf\x00\x00\x00\x01" + msgspec.msgpack.encode("timestamp") + b"\x07"
    assert decode(Envelope, seal(wide, "s.1", 0)).timestamp == 7
    assert decode(Envelope, seal(b'{"timestamp": 7}', "s.1", 0)).timestamp == 7


@given(MESSAGES, st.integers(0, 2**53 - 1))
def test_a_fingerprint_sees_the_content_and_nothing_else(message: Envelope, low: int) -> None:
    sent = fingerprint(message)
    assert len(sent) == 8
    assert fingerprint(with_envelope(message, message.event_id, low)) == sent
    assert fingerprint(decode(type(message), encode(message, Format.JSON))) == sent
    assert fingerprint(with_envelope(message, message.event_id + "x", message.low)) != sent


@given(MESSAGES)
def test_another_library_reads_our_bytes_and_we_read_its(message: Envelope) -> None:
    foreign = msgpack.unpackb(encode(message))
    assert foreign["event_id"] == message.event_id
    assert decode(type(message), msgpack.packb(foreign)) == message
    text = json.loads(encode(message, Format.JSON))
    assert decode(type(message), json.dumps(text).encode()) == message


def test_bytes_travel_as_base64_in_json() -> None:
    text = json.loads(encode(SENT["HardSample"], Format.JSON))
    assert text["x"]["data"] == b64encode(b"\x00\x01\xfe\xff").decode()


def attempt(payload: bytes) -> None:
    """Read a payload as every shape: it is a message, or BadPayload says why not."""
    for shape in SHAPES:
        try:
            message = decode(shape, payload)
        except BadPayload as error:
            assert str(error)
            assert len(str(error)) < 400
        else:
            fingerprint(message)


@given(st.binary(max_size=200))
def test_random_bytes_are_bad_payloads(payload: bytes) -> None:
    attempt(payload)


@given(st.sampled_from([b"{", b"\x80", b"\x8f", b"\xde\x00\x05", b"\xdf\x00\x00\x00\x02"]), st.binary(max_size=200))
def test_random_bytes_after_a_good_beginning_are_bad_payloads(start: bytes, rest: bytes) -> None:
    attempt(start + rest)


@given(MESSAGES, FORMS, st.data())
@settings(max_examples=200)
def test_cut_and_changed_messages_are_bad_payloads_or_messages(
    message: Envelope, form: Format, data: st.DataObject
) -> None:
    payload = bytearray(encode(message, form))
    attempt(bytes(payload[: data.draw(st.integers(0, len(payload) - 1))]))
    for _ in range(3):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    attempt(bytes(payload))


HEAD = b"\x83\xa8event_id\xa3s.1\xa9timestamp\x01\xa1z"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"event_id":"s.1","timestamp":1,"z":' + b"[" * 300_000,
        b'{"z":' * 300_000,
        HEAD + b"\x91" * 300_000,
        HEAD + b"\x81\xa1a" * 300_000,
    ],
    ids=["json arrays", "json objects", "msgpack arrays", "msgpack maps"],
)
def test_deep_nesting_is_a_bad_payload(payload: bytes) -> None:
    with pytest.raises(BadPayload, match="RecursionError"):
        decode(Envelope, payload)


@pytest.mark.parametrize(
    "claim",
    [code + b"\xff\xff\xff\xff" for code in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")],
    ids=["array", "map", "text", "bytes", "extension"],
)
@pytest.mark.parametrize("field", [b"\xa1z", b"\xa4done", b"\xa7streams", b"\xa1x", b"\xa8counters"])
def test_a_claimed_length_allocates_nothing(field: bytes, claim: bytes) -> None:
    payload = b"\x83\xa8event_id\xa3s.1\xa9timestamp\x01" + field + claim
    tracemalloc.start()
    for shape in SHAPES:
        with pytest.raises(BadPayload):
            decode(shape, payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "empty payload"),
        (b"\x93\x01\x02\x03", "first byte 0x93: neither a MessagePack map nor JSON"),
        (b"[1]", "first byte 0x5b: neither a MessagePack map nor JSON"),
        (b"{}", "Object missing required field `event_id`"),
        (b'{"event_id":"s.1"}', "Object missing required field `timestamp`"),
        (b'{"event_id":1,"timestamp":1}', "Expected `str`, got `int` - at `$.event_id`"),
        (b'{"event_id":"s.1","timestamp":1,"low":-1}', "Expected `int` >= 0 - at `$.low`"),
        (b'{"event_id":"s.1","timestamp":1,"low":9007199254740992}', "Expected `int` <= 9007199254740991 - at `$.low`"),
        (b'{"event_id":"\xff","timestamp":1}', "UnicodeDecodeError"),
        (b'{"event_id":"s.1","timestamp":1} x', "DecodeError: JSON is malformed: trailing characters (byte 34)"),
    ],
)
def test_a_bad_payload_says_which_field_is_wrong(payload: bytes, text: str) -> None:
    with pytest.raises(BadPayload) as caught:
        decode(Envelope, payload)
    assert str(caught.value).startswith(text)
    assert not caught.value.newer


@pytest.mark.parametrize("digits", [20, 40, 5000])
def test_a_number_that_no_database_holds_is_a_bad_payload(digits: int) -> None:
    for field in ("timestamp", "low"):
        text = {"event_id": '"s.1"', "timestamp": "1"} | {field: "9" * digits}
        with pytest.raises(BadPayload, match=rf"\$\.{field}"):
            decode(Envelope, ("{" + ",".join(f'"{name}":{value}' for name, value in text.items()) + "}").encode())
    with pytest.raises(BadPayload, match="low"):
        decode(Envelope, msgspec.msgpack.encode({"event_id": "s.1", "timestamp": 1, "low": 2**64 - 1}))


def test_a_kind_of_value_from_a_later_version_is_told_from_a_bad_one() -> None:
    fields = msgspec.to_builtins(SENT["HardSample"], builtin_types=(bytes,))
    with pytest.raises(BadPayload, match="hologram") as later:
        decode(HardSample, msgspec.msgpack.encode(fields | {"edge": {"type": "hologram", "depth": 3}}))
    assert later.value.newer
    with pytest.raises(BadPayload) as bad:
        decode(HardSample, msgspec.msgpack.encode(fields | {"edge": {"type": "classes", "probs": "many"}}))
    assert not bad.value.newer
    state = {"event_id": "s.1", "timestamp": AT, "state": "type", "session": 1}
    with pytest.raises(BadPayload) as wrong:
        decode(NodeStatus, msgspec.msgpack.encode(state))
    assert not wrong.value.newer
