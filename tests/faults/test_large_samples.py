"""Samples too large for a message: their bytes go by themselves, and the sample is receipted when they are there."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_hub.config import HubSettings, InputSettings, JobSettings
from cloud_hub.store.folder import reading
from edge_agent.agent import Agent
from edge_agent.config import load
from messages import channels
from messages.bus.memory import MemoryBroker, MemoryBus
from tests.support.running_hub import hub, limits, until
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
