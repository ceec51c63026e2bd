"""What an app hands in is told apart by the app's own ids, and judged once."""

from typing import Any

import pytest
from msgspec import json

from edge_agent.core.readings import MOST_IDS, REMEMBER_S, TOGETHER, BadReading, Readings
from messages.codec import Format, encode
from messages.delivery.memory import MemoryStore
from messages.shapes import Reading
from tests.support.nodes import AT, FullStore, tensor


def reading(event_id: str = "a", **fields: Any) -> bytes:
    return encode(Reading(event_id=event_id, **({"x": [1, 2]} | fields)), Format.JSON)


def test_what_the_app_leaves_out_is_filled_in() -> None:
    handed = Readings(MemoryStore()).read("side", b'{"event_id": "a", "x": [0.5]}', AT)
    found = handed.reading
    assert (found.job, found.sample_id, found.timestamp, found.x, handed.again) == ("side", "a", AT, [0.5], False)


def test_what_the_app_says_is_kept() -> None:
    payload = encode(Reading(event_id="a", timestamp=7, job="side", sample_id="s", x=tensor()))
    found = Readings(MemoryStore()).read("side", payload, AT).reading
    assert (found.sample_id, found.timestamp, found.x) == ("s", 7, tensor())


@pytest.mark.parametrize("stored", [False, True])
def test_an_id_that_comes_again_is_known_and_other_content_is_refused(stored: bool) -> None:
    store = MemoryStore()
    readings = Readings(store)
    readings.note(readings.read("side", reading(), AT), 1.0)
    if stored:
        readings.write(1.0)
        readings = Readings(store)
    assert readings.read("side", reading(), AT).again
    assert readings.read("side", reading(timestamp=5), AT).again
    assert not readings.read("other", reading(), AT).again
    with pytest.raises(BadReading, match="event_id 'a' was used before, with other content") as error:
        readings.read("side", reading(x=[3]), AT)
    assert error.value.sample_id == "a"


def test_a_number_that_no_message_can_hold_is_refused_by_its_name() -> None:
    payload = b'{"event_id": "a", "sample_id": "s", "x": [' + b"9" * 40 + b"]}"
    with pytest.raises(BadReading, match="x: can't serialize ints") as error:
        Readings(MemoryStore()).read("side", payload, AT)
    assert error.value.sample_id == "s"


def test_the_id_of_a_hard_sample_is_stored_with_it() -> None:
    store = MemoryStore()
    readings = Readings(store)
    with store.transaction():
        readings.keep(readings.read("side", reading(), AT), 1.0)
    assert Readings(store).read("side", reading(), AT).again


def test_ids_are_written_together_and_forgotten_after_a_day() -> None:
    store = MemoryStore()
    readings = Readings(store)
    for number in range(TOGETHER):
        assert store.remembered("side", "0") is None
        readings.note(readings.read("side", reading(str(number)), AT), 1.0)
    assert store.remembered("side", "0") is not None
    readings.write(1.0 + REMEMBER_S)
    assert readings.read("side", reading("0"), AT).again
    readings.write(1.1 + REMEMBER_S)
    assert not readings.read("side", reading("0"), AT).again
    assert MOST_IDS > TOGETHER


def test_a_full_disk_costs_only_the_memory_of_easy_ids() -> None:
    store = FullStore()
    readings = Readings(store)
    store.full = True
    readings.note(readings.read("side", reading(), AT), 1.0)
    readings.write(1.0)
    assert not readings.read("side", reading(), AT).again


@pytest.mark.parametrize(
    ("payload", "said", "name"),
    [
        (b"", "empty payload", ""),
        (b"\x00\x01", "first byte 0x00", ""),
        (b'{"x": [1]}', "missing required field `event_id`", ""),
        (b'{"event_id": "a"}', "missing required field `x`", "a"),
        (b'{"event_id": "a", "sample_id": "s", "x": "0.5"}', "Expected `object | array`, got `str`", "s"),
        (b'{"event_id": 7, "x": [1]}', "Expected `str`, got `int` - at `$.event_id`", ""),
        (b'{"event_id": "", "x": [1]}', "event_id '': use 1 to 200 characters", ""),
        (json.encode({"event_id": "a" * 201, "x": [1]}), "event_id 'aaaa", "a" * 200),
        (b'{"event_id": "a", "job": "other", "x": [1]}', "job is 'other', the topic says 'side'", "a"),
        (b'{"event_id": "a", "timestamp": -1, "x": [1]}', "Expected `int` >= 0 - at `$.timestamp`", "a"),
    ],
)
def test_bad_readings_are_named(payload: bytes, said: str, name: str) -> None:
    with pytest.raises(BadReading) as error:
        Readings(MemoryStore()).read("side", payload, AT)
    assert said in str(error.value)
    assert error.value.sample_id == name
