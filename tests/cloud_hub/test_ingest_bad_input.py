"""Bad bytes of every sort: logged with topic and reason, counted, quarantined, and never the end of the hub."""

from math import inf, nan
from typing import Any

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from cloud_hub.ingest.complaints import MOST
from cloud_hub.ingest.exchange import Arrival
from cloud_hub.ingest.inference import JobSpec
from messages.channels import RESERVED
from messages.codec import Format, encode
from messages.delivery.rows import Outcome
from messages.shapes import Report, Tensor
from messages.tensors import pack
from tests.support.nodes import AT, JOBS, Hub, sample, status, tensor, topic


def still_works(hub: Hub) -> None:
    """The hub takes the next good sample."""
    assert hub.take(sample(900, event_id="alive.0", sample_id="alive")).done == ("alive.0",)


DEEP = b'{"event_id":"s.1","timestamp":1,"z":' + b"[" * 100_000


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty payload"),
        (b"\xff\xfe\xfd", "first byte 0xff"),
        (encode(sample(1))[:40], "DecodeError"),
        (encode(sample(1), Format.JSON)[:40], "DecodeError"),
        (DEEP, "RecursionError"),
        (b"\x80", "Object missing required field `event_id`"),
        (encode(sample(1, event_id="no id")), "event_id 'no id': not stream.seq"),
        (encode(sample(1, event_id="x" * 900_000)), "event_id 'xxx"),
        (encode(sample(1, low=2)), "low 2 lies above the message's own id s.1"),
        (b'{"event_id":"s.1","timestamp":' + b"9" * 40 + b"}", "Expected `int` <= 9007199254740991 - at `$.timestamp`"),
        (b'{"event_id":"s.1","timestamp":1,"low":' + b"9" * 40 + b"}", "Expected `int` <= 9007199254740991"),
    ],
)
@pytest.mark.parametrize("path", ["up/sample", "up/report"])
def test_what_has_no_readable_id_is_quarantined(path: str, payload: bytes, reason: str) -> None:
    hub = Hub()
    out = hub.receive(payload, topic(path))
    assert len(hub.bad()) == 1
    assert hub.bad()[0].startswith(reason)
    assert len(hub.bad()[0]) <= 300
    assert hub.number(Outcome.QUARANTINED) == 1
    assert out.notes[0].startswith(f"{topic(path)}: {reason}")
    assert sum(len(post.payload) for post in out.posts) < 200
    still_works(hub)


@pytest.mark.parametrize("path", ["up/status", "up/receipt"])
@pytest.mark.parametrize("payload", [b"", b"\x80", b"{}", DEEP, encode(sample(1))])
def test_a_bad_status_or_receipt_is_quarantined(path: str, payload: bytes) -> None:
    hub = Hub()
    assert hub.receive(payload, topic(path)).posts == []
    assert len(hub.bad()) == 1
    still_works(hub)


def refusal(hub: Hub, payload: bytes) -> str:
    """The one refusal that a payload gets; a resend gets the same and counts once."""
    first = hub.receipt(hub.receive(payload)).refused
    second = hub.receipt(hub.receive(payload)).refused
    assert first == second
    assert hub.number(Outcome.REFUSED) == 1
    assert len(hub.bad()) == 2
    assert all(reason.startswith(f"refused: {first[0].reason}") for reason in hub.bad())
    assert len(first[0].reason) <= 200
    return first[0].reason


def array(values: Any, dtype: str = "float32") -> Tensor:
    return pack(np.array(values, dtype=dtype).reshape(2, 2))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x": array([0] * 4)}, "x.dtype is float32, job digits takes uint8"),
        ({"x": Tensor(dtype="evil" * 99, shape=(2, 2), data=b"")}, "x.dtype is evilevil"),
        ({"x": Tensor(dtype="uint8", shape=(4,), data=bytes(4))}, "x.shape is (4,), job digits takes (2, 2)"),
        ({"x": Tensor(dtype="uint8", shape=(9,) * 50_000, data=b"")}, "x.shape is (9, 9"),
        ({"x": Tensor(dtype="uint8", shape=(2, 2), data=bytes(3))}, "x.data has 3 bytes, uint8[2, 2] has 4"),
        ({"x": Tensor(dtype="uint8", shape=(2, 2), data=b"")}, "x.data has 0 bytes, uint8[2, 2] has 4"),
        ({"sample_id": ""}, "sample_id '': use 1 to 200 characters"),
        ({"sample_id": "x" * 201}, "sample_id 'xxxx"),
    ],
)
def test_a_sample_that_its_job_does_not_take_is_refused(changes: dict[str, object], reason: str) -> None:
    hub = Hub()
    assert refusal(hub, encode(sample(1, **changes))).startswith(reason)
    assert hub.store.sample_totals("digits").rows == 0
    still_works(hub)


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    hub = Hub(jobs={"any": JobSpec()})
    payload = encode(sample(1, job="any", x=array([0.0, 1.0, value, 2.0])))
    assert refusal(hub, payload) == f"x has {value} at index 2"


def test_an_impossible_empty_array_is_refused() -> None:
    hub = Hub(jobs={"any": JobSpec()})
    payload = encode(sample(1, job="any", x=Tensor(dtype="uint8", shape=(0, 2**50, 2**50), data=b"")))
    assert refusal(hub, payload).startswith("x.shape (0, ")


@pytest.mark.parametrize("form", Format)
def test_a_body_that_is_not_the_shape_is_refused_by_its_id(form: Format) -> None:
    fields = msgspec.to_builtins(sample(1), builtin_types=(bytes,)) | {"x": "not an array"}
    encoder = msgspec.json if form is Format.JSON else msgspec.msgpack
    assert refusal(Hub(), encoder.encode(fields)) == "Expected `object`, got `str` - at `$.x`"


def test_sixty_four_megabytes_are_refused_by_their_id() -> None:
    hub = Hub()
    payload = encode(sample(1, x=Tensor(dtype="uint8", shape=(64_000_000,), data=bytes(64_000_000))))
    assert refusal(hub, payload) == f"{len(payload)} bytes: at most 1000000 travel"
    assert all(len(item.head) == 1024 for item in hub.store.quarantined)
    still_works(hub)


def test_an_id_that_was_used_with_other_content_is_refused_and_nothing_overwritten() -> None:
    hub = Hub()
    hub.take(sample(1))
    (refused,) = hub.take(sample(1, x=tensor(9, 9, 9, 9))).refused
    assert refused.reason == "id was used before with other content"
    assert hub.store.content("cam-1", "digits", "sample-1") == bytes([0, 1, 2, 3])
    assert hub.bad() == ["refused: id was used before with other content"]


def test_a_sample_id_that_was_used_with_other_content_is_refused() -> None:
    hub = Hub()
    hub.take(sample(1))
    (refused,) = hub.take(sample(2, sample_id="sample-1", x=tensor(9, 9, 9, 9))).refused
    assert refused.reason == "sample_id 'sample-1' has other content here"
    assert hub.store.content("cam-1", "digits", "sample-1") == bytes([0, 1, 2, 3])
    assert hub.books() == {"stored": 1, "refused": 1, "quarantined": 1}


def test_an_id_far_ahead_is_refused() -> None:
    hub = Hub()
    (refused,) = hub.take(sample(5000)).refused
    assert refused.reason == "id lies too far above the oldest without a receipt"
    assert hub.store.sample_totals("digits").rows == 0


@pytest.mark.parametrize(
    ("on", "reason"),
    [
        ("default/skerry/v2/cam-1/up/sample", "topic 'default/skerry/v2/cam-1/up/sample': not"),
        ("default/skerry/v1/../up/sample", "node '..': use 1 to 63"),
        ("x" * 60_000, "topic 'xxx"),
        ("", "topic '': not"),
    ],
)
def test_a_topic_that_is_none_is_quarantined(on: str, reason: str) -> None:
    hub = Hub()
    hub.receive(encode(sample(1)), on)
    assert hub.bad()[0].startswith(reason)
    assert len(hub.store.quarantined[0].topic) <= 200
    still_works(hub)


@pytest.mark.parametrize("path", ["up/sample", "up/report", "up/receipt", "up/unheard-of"])
def test_a_retained_message_of_last_year_is_quarantined(path: str) -> None:
    hub = Hub()
    on = f"default/skerry/v1/cam-1/{path}"
    assert hub.receive(encode(sample(1)), on, retained=True).posts == []
    assert hub.bad() == ["a retained message on a channel that is never retained"]


def test_a_retained_status_of_last_year_is_only_old_news() -> None:
    hub = Hub()
    hub.receive(encode(status(session=7)), topic("up/status"))
    hub.receive(encode(status("offline", session=3)), topic("up/status"), retained=True)
    assert hub.core.presence.online("cam-1")


UP_RESERVED = [channel.path for channel in RESERVED if channel.path.startswith("up/")]


@pytest.mark.parametrize("path", [*UP_RESERVED, "up/unheard-of", "up/sample/more"])
def test_what_a_later_version_may_know_must_wait(path: str) -> None:
    hub = Hub()
    payload = msgspec.msgpack.encode({"event_id": "s.1", "timestamp": 1, "cargo": 5})
    out = hub.receive(payload, f"default/skerry/v1/cam-1/{path}")
    (wait,) = hub.receipt(out).later
    assert (wait.event_id, wait.retry_s) == ("s.1", 3600.0)
    assert (hub.bad(), hub.books()) == ([], {})


def test_a_kind_of_result_that_a_later_version_may_know_must_wait() -> None:
    hub = Hub()
    fields = msgspec.to_builtins(sample(1), builtin_types=(bytes,)) | {"edge": {"type": "hologram"}}
    (wait,) = hub.receipt(hub.receive(msgspec.msgpack.encode(fields))).later
    assert wait.event_id == "s.1"
    assert hub.take(sample(1)).done == ("s.1",)


def test_an_unknown_job_must_wait_until_someone_configures_it() -> None:
    hub = Hub()
    (wait,) = hub.take(sample(1, job="letters")).later
    assert (wait.retry_s, wait.reason) == (300.0, "job 'letters' is not in this hub's configuration")
    after = Hub(hub.store, stream="h2", jobs=JOBS | {"letters": JOBS["digits"]})
    assert after.take(sample(1, job="letters")).done == ("s.1",)


def test_the_same_complaint_is_logged_once_a_minute_and_counted_always() -> None:
    hub = Hub()
    notes: list[str] = []
    for second in range(0, 130, 10):
        hub.now = float(second)
        notes += hub.receive(b"").notes
    assert notes == [f"{topic('up/sample')}: empty payload"] * 3
    assert hub.number(Outcome.QUARANTINED) == 13


def test_a_flood_of_different_complaints_does_not_fill_the_log() -> None:
    hub = Hub()
    notes = [note for number in range(1000) for note in hub.receive(encode(sample(1, event_id=f"x{number}"))).notes]
    assert len(notes) == MOST + 1
    assert notes[-1] == "more sorts of bad input than 100 in 60 s: the others are only counted"
    assert hub.number(Outcome.QUARANTINED) == 1000
    hub.now = 61.0
    assert hub.receive(b"").notes == [f"{topic('up/sample')}: empty payload"]


def test_good_and_bad_in_one_batch_do_not_mind_each_other() -> None:
    hub = Hub()
    payloads = [encode(sample(1)), b"\xc1", encode(sample(2, x=tensor()))[:30], encode(sample(3))]
    out = hub.core.receive([Arrival(topic("up/sample"), payload) for payload in payloads], 0.0, AT)
    assert hub.receipt(out).done == ("s.1", "s.3")
    assert len(hub.bad()) == 2


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_number_that_is_none_never_reaches_the_database(value: float) -> None:
    """SQLite takes NaN for NULL, and JSON knows neither."""
    hub = Hub()
    report = Report(event_id="s.1", timestamp=AT, job="digits", session=1, counters={"all": 1.0, "odd": value})
    assert refusal(hub, encode(sample(2, rank=value))).endswith("at `$.rank`")
    (refused,) = hub.take(report, path="up/report").refused
    assert refused.reason.endswith("at `$.counters[...]`")
    hub.receive(encode(status(beat_s=value)), topic("up/status"))
    assert hub.bad()[-1].endswith("at `$.beat_s`")
    still_works(hub)


GOOD = encode(sample(1))
UP = ["up/sample", "up/status", "up/receipt", "up/report", "up/frame", "up/what"]
PATHS = st.sampled_from([*UP, "down/answer", "in/digits"])


@given(st.lists(st.tuples(PATHS, st.booleans(), st.binary(max_size=50), st.integers(0, len(GOOD) - 1)), max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_bytes_end_the_hub(arrivals: list[tuple[str, bool, bytes, int]]) -> None:
    hub = Hub()
    for path, retained, noise, place in arrivals:
        for payload in (noise, GOOD[:place] + noise + GOOD[place + len(noise) :], GOOD[:place]):
            hub.receive(payload, f"default/skerry/v1/cam-1/{path}", retained=retained)
    still_works(hub)
