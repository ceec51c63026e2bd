"""A source runs in its own thread: held back or overtaken when it is too fast, named when it fails."""

import asyncio
import itertools
import threading
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest

from edge_agent.plugins import PluginFailed
from edge_agent.sources.feed import IDLE, Bad, Feed, Keep, Sample, SourceError
from tests.support.events import until


def numbers(count: int) -> Iterator[tuple[str, Any]]:
    for number in range(count):
        yield str(number), np.full(1, number)


def known(item: Sample | Bad) -> Sample:
    assert isinstance(item, Sample)
    return item


async def test_every_sample_arrives_in_order_and_the_source_is_held_back() -> None:
    made: list[str] = []

    def source() -> Iterator[tuple[str, Any]]:
        for sample in numbers(200):
            made.append(sample[0])
            yield sample

    seen: list[str] = []
    async with Feed("numbers", source, "every") as feed:
        async for sample in feed:
            seen.append(known(sample).sample_id)
            assert len(made) - len(seen) <= 2
    assert seen == [str(number) for number in range(200)]
    assert feed.take_skipped() == 0


async def test_with_newest_the_overtaken_readings_are_counted() -> None:
    finished = asyncio.Event()
    loop = asyncio.get_running_loop()

    def source() -> Iterator[tuple[str, Any]]:
        yield from numbers(1000)
        loop.call_soon_threadsafe(finished.set)

    async with Feed("numbers", source, "newest") as feed:
        await finished.wait()
        seen = [known(sample).sample_id async for sample in feed]
    assert seen == ["999"]
    assert (feed.take_skipped(), feed.take_skipped()) == (999, 0)


async def test_arrays_without_an_id_are_samples_too() -> None:
    async with Feed("plain", lambda: [np.zeros(2)], "every") as feed:
        samples = [known(sample) async for sample in feed]
    assert [(sample.sample_id, sample.x.shape) for sample in samples] == [("", (2,))]


async def test_a_source_that_raises_is_named_after_its_samples_were_used() -> None:
    def source() -> Iterator[tuple[str, Any]]:
        yield from numbers(2)
        raise OSError("camera unplugged")

    seen: list[str] = []
    with pytest.raises(PluginFailed, match="camera:frames: OSError: camera unplugged"):
        async with Feed("camera:frames", source, "every") as feed:
            async for sample in feed:
                seen.append(known(sample).sample_id)
    assert seen == ["0", "1"]


@pytest.mark.parametrize("item", ["text", 3, ("id", [1, 2]), (3, np.zeros(1)), None])
async def test_what_is_no_sample_is_named(item: object) -> None:
    with pytest.raises(SourceError, match="camera:frames: yielded .*: not an array"):
        async with Feed("camera:frames", lambda: [item], "every") as feed:
            await anext(feed)


async def test_a_source_that_is_not_iterable_is_named() -> None:
    with pytest.raises(PluginFailed, match="camera:frames: TypeError"):
        async with Feed("camera:frames", lambda: 3, "every") as feed:  # type: ignore[arg-type,return-value]
            await anext(feed)


async def test_leaving_lets_a_held_back_thread_go() -> None:
    before = set(threading.enumerate())
    async with Feed("numbers", lambda: numbers(1000), "every") as feed:
        assert known(await anext(feed)).sample_id == "0"
        (thread,) = set(threading.enumerate()) - before
    await asyncio.to_thread(thread.join, 5.0)
    assert not thread.is_alive()


async def test_a_source_that_is_held_back_learns_what_came_of_its_samples() -> None:
    told: list[str | None] = []

    def source() -> Generator[Any, str | None, None]:
        for number in range(3):
            told.append((yield str(number), np.zeros(1)))

    async with Feed("numbers", source, "every") as feed:
        async for sample in feed:
            assert len(told) == int(known(sample).sample_id), "it went on before its sample was judged"
            if known(sample).sample_id == "1":
                feed.refuse("too dark")
    assert told == [None, "too dark", None]


@pytest.mark.parametrize("keep", ["every", "newest"])
async def test_no_bad_reading_is_lost_and_none_hides_a_sample(keep: Keep) -> None:
    def source() -> Iterator[Any]:
        yield "good", np.zeros(1)
        for line in range(50):
            yield Bad(f"line {line}", "no number")

    async with Feed("lines", source, keep) as feed:
        seen = [item async for item in feed]
    assert [item.where for item in seen if isinstance(item, Bad)] == [f"line {line}" for line in range(50)]
    assert known(seen[0]).sample_id == "good"


async def test_a_source_that_waits_is_let_go_and_gives_a_sign_of_life() -> None:
    before = set(threading.enumerate())
    async with Feed("inbox", lambda: itertools.repeat(IDLE), "every") as feed:
        (thread,) = set(threading.enumerate()) - before
        await until(feed.take_sign, within_s=5.0)
    await asyncio.to_thread(thread.join, 5.0)
    assert not thread.is_alive()
