"""Whatever is lost, late, doubled or wrong: a blob arrives whole, or not at all and with a reason."""

from itertools import pairwise
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec import structs

from messages.blobs.fetch import STRIKES, BadChunk, Fetch, Stage
from messages.blobs.shapes import MOST_RANGE, BlobChunk, Span
from messages.blobs.units import ENTRY, LEAST, BadList, parse
from messages.blobs.window import Window
from tests.support.blobs import Source, chunk, content, referred

DATA = content(1_000_000)
REF, LISTED = referred(DATA)
UNITS = parse(LISTED, REF)


def started(data: bytes = DATA) -> Fetch:
    return Fetch(referred(data)[0], Window(Random(1)))


class Story:
    """A fetch whose messages are lost, doubled, late and out of order; its disk outlives it."""

    def __init__(self, data: bytes, seed: int, *, loss: float = 0.0, wrong: float = 0.0, late: float = 0.25) -> None:
        self.random = Random(seed)
        self.source = Source(data)
        self.ref, _ = referred(data)
        self.loss, self.wrong, self.late = loss, wrong, late
        self.disk = bytearray(len(data))
        self.there: set[int] = set()
        self.now = 0.0
        self.carried = 0
        self.under_way: list[tuple[float, BlobChunk]] = []
        self.restart()

    def restart(self) -> None:
        self.fetch = Fetch(self.ref, Window(self.random))

    def step(self) -> None:
        """A little time passes."""
        self.now += self.random.uniform(0.0, 0.3)
        if self.fetch.stage is Stage.LISTED:
            self.fetch.go_on(self.there)
        name, spans = self.fetch.ask(self.now)
        for span in spans:
            for _ in range(self.random.choice([1, 1, 1, 2]) if self.late else 1):
                if self.random.random() >= self.loss:
                    self.under_way.append(
                        (
                            self.now + self.random.uniform(0.0, self.late) * self.random.choice([1, 1, 1, 8]),
                            self._given(name, span),
                        )
                    )
        due = [message for message in self.under_way if message[0] <= self.now]
        self.under_way = [message for message in self.under_way if message[0] > self.now]
        self.random.shuffle(due)
        for _, item in due:
            self.carried += len(item.data)
            for unit, data in self.fetch.take(item, self.now):
                self.disk[unit.offset : unit.offset + unit.length] = data
                self.there.add(self.fetch.units.index(unit))

    def _given(self, name: str, span: Span) -> BlobChunk:
        given = self.source.give(name, span)
        if self.random.random() < self.wrong:
            given = structs.replace(given, data=bytes([given.data[0] ^ 1]) + given.data[1:])
        return given


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700_000), st.integers(0, 10**9), st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([0, 3, 40]))
def test_it_arrives_whole_whatever_is_lost_and_however_often_it_restarts(
    size: int, seed: int, loss: float, restarts: int
) -> None:
    data = content(size, seed)
    story = Story(data, seed, loss=loss)
    for number in range(50_000):
        story.step()
        if story.fetch.stage is Stage.WHOLE:
            break
        if number < 10 * restarts and number % 10 == 9:
            story.restart()
    assert bytes(story.disk) == data


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700_000), st.integers(0, 10**9), st.sampled_from([0.02, 0.3, 1.0]))
def test_wrong_bytes_never_pass(size: int, seed: int, wrong: float) -> None:
    data = content(size, seed)
    story = Story(data, seed, wrong=wrong)
    for _ in range(50_000):
        story.step()
        if story.fetch.stage is Stage.WHOLE or story.fetch.failed:
            break
    if story.fetch.failed:
        assert "another digest" in story.fetch.failed
        assert story.fetch.ask(story.now + 1000.0) == ("", [])
    else:
        assert bytes(story.disk) == data
    for number in story.there:
        unit = story.fetch.units[number]
        assert story.disk[unit.offset : unit.offset + unit.length] == data[unit.offset : unit.offset + unit.length]


def calm() -> Story:
    """Nothing is lost, doubled or late."""
    return Story(DATA, 1, late=0.0)


def test_without_loss_no_byte_comes_twice() -> None:
    story = calm()
    while story.fetch.stage is not Stage.WHOLE:
        story.step()
    assert story.carried == len(DATA) + len(LISTED)


def test_what_is_there_is_not_asked_for() -> None:
    story = calm()
    story.there = set(range(len(UNITS))) - {2, 5}
    while story.fetch.stage is not Stage.WHOLE:
        story.step()
    assert story.carried == len(LISTED) + UNITS[2].length + UNITS[5].length


def test_a_small_blob_needs_no_list() -> None:
    fetch = started(DATA[:5000])
    assert fetch.stage is Stage.LISTED
    fetch.go_on(())
    name, spans = fetch.ask(0.0)
    ((unit, data),) = [done for span in spans for done in fetch.take(Source(DATA[:5000]).give(name, span), 0.1)]
    assert (fetch.stage, unit.length, data) == (Stage.WHOLE, 5000, DATA[:5000])


def listed() -> Fetch:
    """A fetch that has its list, and has asked for the first bytes."""
    fetch = started()
    source = Source(DATA)
    while fetch.stage is Stage.LIST:
        name, spans = fetch.ask(0.0)
        for span in spans:
            fetch.take(source.give(name, span), 0.0)
    fetch.go_on(())
    return fetch


def test_what_was_not_asked_for_changes_nothing() -> None:
    fetch = listed()
    _, spans = fetch.ask(0.0)
    missing = fetch.missing
    for offset in (spans[-1].offset + spans[-1].length, 2**52, 1):
        assert fetch.take(chunk(REF.sha256, offset, b"x" * 100), 0.1) == []
    assert fetch.take(chunk("0" * 64, 0, DATA[: spans[0].length]), 0.1) == []
    assert fetch.missing == missing


@pytest.mark.parametrize("more", [1, MOST_RANGE])
def test_a_chunk_that_is_empty_or_goes_beyond_the_end_is_refused(more: int) -> None:
    fetch = started(DATA[:3000])
    fetch.go_on(())
    name, _ = fetch.ask(0.0)
    for data in (b"", bytes(3000 + more)[:MOST_RANGE]):
        with pytest.raises(BadChunk, match=f"^{len(data)} bytes at 0 of {name[:12]}, which has 3000$"):
            fetch.take(chunk(name, 0, data), 0.1)
    assert fetch.missing == 3000


def test_a_list_of_another_blob_is_refused() -> None:
    liar = structs.replace(REF, size=REF.size - 1)
    fetch = Fetch(liar, Window(Random(1)))
    name, spans = fetch.ask(0.0)
    fetch.take(Source(DATA).give(name, spans[0]), 0.1)
    assert fetch.failed == f"its list has {REF.size} bytes in {REF.units} units"


def test_endless_data_is_not_even_asked_for() -> None:
    with pytest.raises(BadList, match="cannot hold"):
        Fetch(structs.replace(REF, units=2**32), Window(Random(1)))
    fetch = Fetch(structs.replace(REF, size=2**40, units=2**40 // LEAST), Window(Random(1)))
    asked = [span for _ in range(100) for span in fetch.ask(0.0)[1]]
    assert all(span.offset + span.length <= 2**40 // LEAST * ENTRY.size for span in asked)


def test_a_source_that_has_it_not_is_asked_ever_less_often_and_then_at_once() -> None:
    fetch = started()
    now, asked = 0.0, []
    for _ in range(8):
        name, spans = fetch.ask(now)
        asked.append(now)
        fetch.take(chunk(name, spans[0].offset, error="none here"), now)
        assert fetch.problem == "none here"
        wake = fetch.wake_at()
        assert wake is not None
        assert fetch.ask((now + wake) / 2.0) == ("", [])
        now = wake
    pauses = [later - sooner for sooner, later in pairwise(asked)]
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    fetch.stop()
    assert fetch.ask(now - 1.0)[1]


def test_lost_wants_are_repeated_ever_later() -> None:
    fetch = started(DATA[:3000])
    fetch.go_on(())
    now = 0.0
    times: list[float] = []
    while len(times) < 10:
        if fetch.ask(now)[1]:
            times.append(now)
        wake = fetch.wake_at()
        assert wake is not None
        assert wake > now
        now = wake
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert 0.8 <= pauses[0] <= 1.2
    assert 48.0 <= pauses[-1] <= 72.0


def test_strikes_end_it() -> None:
    fetch = started(DATA[:100])
    fetch.go_on(())
    for number in range(STRIKES):
        assert not fetch.failed
        name, (span,) = fetch.ask(float(number))
        assert fetch.take(chunk(name, 0, bytes(span.length)), float(number)) == []
    assert fetch.failed == "bytes at 0 with another digest"
    assert fetch.problem == f"blob {fetch.ref.sha256[:12]}: bytes at 0 with another digest"


@pytest.mark.parametrize("rate", [1_000, 2_500, 25_000])
def test_on_a_very_slow_line_little_is_asked_for_twice(rate: int) -> None:
    data = DATA[:200_000]
    source, fetch = Source(data), started(data)
    fetch.go_on(())
    now = free = 0.0
    carried = 0
    under_way: list[tuple[float, BlobChunk]] = []
    while fetch.stage is not Stage.WHOLE:
        name, spans = fetch.ask(now)
        for span in spans:
            free = max(free, now) + span.length / rate
            carried += span.length
            under_way.append((free, source.give(name, span)))
        wake = fetch.wake_at() or 0.0
        if under_way and under_way[0][0] <= wake:
            now, came = under_way.pop(0)
            fetch.take(came, now)
        else:
            now = max(now, wake)
    assert carried < 1.5 * len(data)
