"""Samples too large for a message: their bytes go by themselves, and the sample is receipted when they are there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from cloud_hub.config import HubSettings, InputSettings, JobSettings
from cloud_hub.store.folder import reading
from edge_agent.agent import Agent
from edge_agent.config import load
from messages import channels
from messages.blobs.fetch import STRIKES
from messages.blobs.folder import Folder
from messages.blobs.shapes import BlobChunk, Span
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.shapes import Classes, HardSample, Receipt, Tensor
from tests.support.blobs import Source, chunk, referred
from tests.support.running_hub import Node, hub, limits, node, until
from tests.support.small_agent import write_agent

SIZE = 500_000
"""Numbers of a sample, four bytes each."""


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def settings() -> HubSettings:
    job = JobSettings(predictor="big:sides", input=InputSettings(dtype="float32", shape=(SIZE,)))
    return HubSettings(jobs={"wide": job}, limits=limits(retry_s=0.2))


def agent_of(folder: Path, broker: MemoryBroker, size: int = SIZE) -> Agent:
    file = write_agent(folder / "agent", jobs='[jobs.wide]\nmodel = "wide.npz"\npolicy = "cloud_only"\n')
    np.savez(folder / "agent" / "wide.npz", w0=np.zeros((size, 2), "float32"), b0=np.zeros(2, "float32"))
    down = [channels.downlink("default", "device-1")]
    return Agent(
        load(file), file, make_bus=lambda will: MemoryBus(broker, client_id="device-1", subscriptions=down, will=will)
    )


def sample(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=SIZE).astype("float32")


def stored(folder: Path) -> dict[str, bytes]:
    with closing(reading(folder / "data")) as reader:
        return dict(reader.execute("SELECT sample_id, data FROM samples").fetchall())


def files(folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]


async def test_large_samples_arrive_whole_and_leave_nothing_behind(tmp_path: Path, broker: MemoryBroker) -> None:
    async with hub(tmp_path, broker, settings()) as running, agent_of(tmp_path, broker) as agent:
        answers = [await agent.infer(sample(n), sample_id=f"s{n}") for n in range(5)]
        finals = await asyncio.gather(*(answer.final(timeout=20.0) for answer in answers))
        assert [final.origin for final in finals] == ["cloud"] * 5
        assert agent.counters().bytes_sent == 5 * 4 * SIZE
        await until(lambda: not agent.backlog)
        await until(lambda: not files(tmp_path / "data" / "blobs"))
        agent.blobs.sweep()
        agent.blobs.sweep()
        assert files(tmp_path / "agent" / "data" / "blobs") == []
        assert running.health.problems == []
    assert stored(tmp_path) == {f"s{n}": sample(n).tobytes() for n in range(5)}


async def test_without_room_the_edge_answer_is_final(tmp_path: Path, broker: MemoryBroker) -> None:
    async with hub(tmp_path, broker, settings()), agent_of(tmp_path, broker) as agent:
        agent.blobs.get().sending.folder = Folder(tmp_path / "small", most=14 * SIZE, reserve=0)
        agent.blobs.link(up=False)
        agent.link.bus.post = lambda *_, **__: None  # type: ignore[method-assign]  # nothing arrives
        answers = [await agent.infer(sample(n)) for n in range(4)]
        assert [answer.provisional for answer in answers] == [True, True, True, False]
        assert answers[3].reason == "no_room"
        counters = agent.counters()
        assert (counters.hard, counters.unsent, counters.reasons["no_room"]) == (3, 0, 1)
        assert len(agent.store.blobs()) == 3


async def hearing(device: Node, sample: HardSample, answer: Callable[[str, Span], BlobChunk]) -> Receipt:
    """Offer a sample and give what the hub wants of it, until it is settled."""
    device.send(channels.UP_SAMPLE, sample)
    wants = asyncio.create_task(giving(device, answer))
    try:
        while True:
            receipt = await device.hear(channels.DOWN_RECEIPT)
            if receipt.done or receipt.refused:
                return receipt
    finally:
        wants.cancel()


async def giving(device: Node, answer: Callable[[str, Span], BlobChunk]) -> None:
    while True:
        want = await device.hear(channels.DOWN_WANT)
        for span in want.spans:
            device.send(channels.UP_CHUNK, answer(want.sha256, span))


def offered(data: bytes, event_id: str = "s.1", **changes: Any) -> HardSample:
    ref, _ = referred(data)
    x = Tensor(dtype="float32", shape=(SIZE,), data=b"", blob=ref)
    fields: dict[str, Any] = {"job": "wide", "sample_id": event_id, "edge": Classes(probs=(1.0,)), "reason": "hard"}
    return HardSample(event_id=event_id, timestamp=1, **(fields | {"x": x} | changes))


@asynccontextmanager
async def hub_and_node(folder: Path, broker: MemoryBroker) -> AsyncIterator[Node]:
    async with hub(folder, broker, settings()), node(broker) as device:
        device.status()
        yield device


async def test_a_sample_that_says_what_its_blob_is_not_is_refused(tmp_path: Path, broker: MemoryBroker) -> None:
    data = sample(1).tobytes()
    bad = np.where(np.arange(SIZE) == 7, np.nan, sample(2)).astype("float32").tobytes()
    short, _ = referred(data[:-4])
    both = Tensor(dtype="float32", shape=(1,), data=bytes(4), blob=referred(data)[0])
    stories = [
        (offered(data, "s.1", x=structs.replace(offered(data).x, blob=short)), "x.blob has 1999996 bytes"),
        (offered(data, "s.2", x=both), "x.shape is (1,), job wide takes (500000,)"),
        (offered(bad, "s.3"), "x has nan at index 7"),
        (offered(data, "s.4", x=structs.replace(offered(data).x, encoding="gzip")), "x.data is no gzip"),
    ]
    async with hub_and_node(tmp_path, broker) as device:
        source = Source(data, bad)
        for story, reason in stories:
            (refused,) = (await hearing(device, story, source.give)).refused
            assert (refused.event_id, reason in refused.reason) == (story.event_id, True), refused
        assert (await hearing(device, offered(data, "s.5"), source.give)).done == ("s.5",)
        await until(lambda: not files(tmp_path / "data" / "blobs" / "in"))
    assert stored(tmp_path) == {"s.5": data}


async def test_a_node_whose_bytes_are_wrong_is_asked_three_times_and_never_again(
    tmp_path: Path, broker: MemoryBroker
) -> None:
    data = sample(1).tobytes()
    source = Source(data)
    asked: list[str] = []

    def wrong(sha256: str, span: Span) -> BlobChunk:
        asked.append(sha256)
        return structs.replace(source.give(sha256, span), data=bytes(span.length))

    async with hub_and_node(tmp_path, broker) as device:
        (refused,) = (await hearing(device, offered(data), wrong)).refused
        assert refused.reason.endswith("with another digest")
        number = len(asked)
        assert number == STRIKES
        (again,) = (await hearing(device, offered(data, "s.2"), wrong)).refused
        assert (again.reason, len(asked)) == (refused.reason, number)
        assert (await hearing(device, offered(sample(2).tobytes(), "s.3"), Source(sample(2).tobytes()).give)).done
    assert list(stored(tmp_path)) == ["s.3"]
    with closing(reading(tmp_path / "data")) as reader:
        reasons = [reason for (reason,) in reader.execute("SELECT reason FROM quarantine")]
    assert sum("with another digest" in reason for reason in reasons) >= 1


async def test_a_sample_whose_blob_does_not_come_is_told_to_wait(tmp_path: Path, broker: MemoryBroker) -> None:
    async with hub_and_node(tmp_path, broker) as device:
        device.send(channels.UP_SAMPLE, offered(sample(1).tobytes()))
        want = await device.hear(channels.DOWN_WANT)
        device.send(channels.UP_CHUNK, chunk(want.sha256, 0, error="none here"))
        while not (receipt := await device.hear(channels.DOWN_RECEIPT)).later:
            pass
        assert receipt.later[0].reason.endswith("is still to come")
    assert stored(tmp_path) == {}


async def test_a_receipt_that_was_lost_needs_no_second_transfer(tmp_path: Path, broker: MemoryBroker) -> None:
    data = sample(1).tobytes()
    async with hub_and_node(tmp_path, broker) as device:
        assert (await hearing(device, offered(data), Source(data).give)).done
        await until(lambda: not files(tmp_path / "data" / "blobs" / "in"))
        again = offered(data, "t.0", sample_id="s.1")  # as after a restart, under another id
        assert (await hearing(device, again, lambda *_: pytest.fail("it was asked for"))).done == ("t.0",)
        other = offered(sample(2).tobytes(), "t.1", sample_id="s.1")
        (refused,) = (await hearing(device, other, lambda *_: pytest.fail("it was asked for"))).refused
        assert refused.reason == "sample_id 's.1' has other content here"
