"""A hard sample's way to the hub and back, durable at both ends, beside a ping-pong with as many bare commits."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from edge_agent.agent import Agent
from scripts.benches import Plan, Row
from scripts.benches.delivery.bare import PingPong, ping_pong
from scripts.benches.delivery.processes import RunningHub, broker, hub

TURN = 50
"""Trips of ours and of the baseline take turns, so many at a time."""

REST_S = 0.005
"""Between two trips: what an earlier one left to do is none of the next one's cost."""

AGENT = """
node = "bench"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[outbox]
sync = "full"
[jobs.bench]
model = "small.npz"
policy = "cloud_only"
"""

Sample = np.ndarray[Any, Any]


def roundtrip(plan: Plan) -> Iterator[Row]:
    """From `infer` to the answer in the app's hands, and sample and answer settled in the agent's database."""
    with broker() as port, hub(port) as ours, TemporaryDirectory() as folder:
        yield asyncio.run(_measure(port, ours, Path(folder), plan))


async def _measure(port: int, ours: RunningHub, folder: Path, plan: Plan) -> Row:
    x = np.random.default_rng(plan.seed).normal(size=64).astype("float32")
    async with _agent(port, folder) as trips:
        at_agent, at_hub = await _commits(trips, ours, x)
        async with ping_pong(port, folder, x.tobytes(), at_hub) as bare:
            mine, theirs = await _take_turns(trips, bare, x, at_agent, plan.seconds)
    return Row(
        area="delivery", name="roundtrip/p50", value=median(mine) * 1e3, unit="ms", better="lower", seed=plan.seed,
        runs=len(mine), data=f"64 float32, no-op model; {at_agent} commits at the agent, {at_hub} at the hub",
        baseline="aiomqtt ping-pong and as many bare commits", baseline_value=median(theirs) * 1e3, budget=1.5,
    )  # fmt: skip


class Trips:
    """An agent on the broker, one hard sample after the other."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._done = 0

    async def trip_s(self, x: Sample) -> float:
        """One sample until it is answered and settled."""
        counters = self._agent.counters()
        begin = perf_counter()
        await (await self._agent.infer(x)).final(timeout=20.0)
        self._done += 1
        while counters.answered < self._done or self._agent.backlog:  # noqa: ASYNC110 - a turn of the loop or two
            await asyncio.sleep(0)
        return perf_counter() - begin

    def count_commits(self) -> "Commits":
        """Count from now on."""
        return Commits(self._agent.store.connection)


class Commits:
    """Counts the commits of a connection that wrote something."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.number = 0
        self._connection = connection
        self._changes = connection.total_changes
        connection.set_trace_callback(self._hear)

    def _hear(self, statement: str) -> None:
        if statement == "COMMIT" and self._connection.total_changes > self._changes:
            self.number += 1
            self._changes = self._connection.total_changes

    def stop(self) -> None:
        """Count no more."""
        self._connection.set_trace_callback(None)


@asynccontextmanager
async def _agent(port: int, folder: Path) -> AsyncIterator[Trips]:
    np.savez(folder / "small.npz", w0=np.ones((64, 2), "float32"), b0=np.zeros(2, "float32"))
    (folder / "agent.toml").write_text(AGENT.format(port=port))
    async with Agent.from_config(folder / "agent.toml") as agent:
        while not agent.connected:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        yield Trips(agent)


async def _commits(trips: Trips, ours: RunningHub, x: Sample) -> tuple[int, int]:
    """How many commits a trip takes at the agent and at the hub; the hub's last one comes after the trip."""
    await _in_turn(trips, x)
    counted, before = trips.count_commits(), await asyncio.to_thread(ours.turns)
    await _in_turn(trips, x)
    counted.stop()
    turns = await asyncio.to_thread(ours.turns) - before
    return round(counted.number / TURN), round(turns / TURN) - 1


async def _take_turns(
    trips: Trips, bare: PingPong, x: Sample, commits: int, seconds: float
) -> tuple[list[float], list[float]]:
    mine: list[float] = []
    theirs: list[float] = []
    until = perf_counter() + seconds
    while not mine or perf_counter() < until:
        mine += await _in_turn(trips, x)
        for _ in range(TURN):
            theirs.append(await bare.trip_s(commits))
            await asyncio.sleep(REST_S)
    return mine, theirs


async def _in_turn(trips: Trips, x: Sample) -> list[float]:
    times = []
    for _ in range(TURN):
        times.append(await trips.trip_s(x))
        await asyncio.sleep(REST_S)
    return times
