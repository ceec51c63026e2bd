"""A source runs in its own thread: held back or overtaken when it is too fast, named when it fails."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edge_agent.plugins import PluginFailed
from edge_agent.sources.feed import Feed, SourceError


def numbers(count: int) -> Iterator[tuple[str, Any]]:
    for number in range(count):
        yield str(number), np.full(1, number)


async def test_every_sample_arrives_in_order_and_the_source_is_held_back() -> None:
    made: list[str] = []

    def source() -> Iterator[tuple[str, Any]]:
        for sample in numbers(200):
            made.append(sample[0])
            yield sample

    seen: list[str] = []
    async with Feed("numbers", source, "every") as feed:
        async for sample in feed:
            seen.append(sample.sample_id)
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
        seen = [sample.sample_id async for sample in feed]
    assert seen == ["999"]
    assert (feed.take_skipped(), feed.take_skipped()) == (999, 0)


async def test_arrays_without_an_id_are_samples_too() -> None:
    async with Feed("plain", lambda: [np.zeros(2)], "every") as feed:
        samples = [sample async for sample in feed]
    assert [(sample.sample_id, sample.x.shape) for sample in samples] == [("", (2,))]


async def test_a_source_that_raises_is_named_after_its_samples_were_used() -> None:
    def source() -> Iterator[tuple[str, Any]]:
        yield from numbers(2)
        raise OSError("camera unplugged")

    seen: list[str] = []
    with pytest.raises(PluginFailed, match="camera:frames: OSError: camera unplugged"):
        async with Feed("camera:frames", source, "every") as feed:
            async for sample in feed:
                seen.append(sample.sample_id)
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
        assert (await anext(feed)).sample_id == "0"
        (thread,) = set(threading.enumerate()) - before
    await asyncio.to_thread(thread.join, 5.0)
    assert not thread.is_alive()
