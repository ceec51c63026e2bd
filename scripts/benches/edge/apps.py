"""What another program on the device waits for its answer, beside a bare ping-pong with as many bytes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import aiomqtt
import numpy as np

from messages.channels import IN, OUT
from messages.codec import encode
from messages.shapes import Reading
from messages.tensors import pack
from scripts.benches import Plan, Row
from scripts.benches.delivery.bare import PingPong, client, ping_pong
from scripts.benches.delivery.processes import broker, running
from scripts.benches.delivery.roundtrip import REST_S, TURN

AGENT = """
node = "bench"
[mqtt]
url = "mqtt://127.0.0.1:{hub}"
[apps]
broker = "mqtt://127.0.0.1:{own}"
[jobs.bench]
model = "small.npz"
policy = {{use = "threshold", threshold = 0.0}}
"""


def in_out(plan: Plan) -> Iterator[Row]:
    """From a reading on `in` to its final prediction on `out`, the agent being a process on two brokers."""
    with broker() as hub, broker() as own, TemporaryDirectory() as place:
        folder = Path(place)
        np.savez(folder / "small.npz", w0=np.ones((64, 10), "float32"), b0=np.zeros(10, "float32"))
        config = folder / "agent.toml"
        config.write_text(AGENT.format(hub=hub, own=own))
        with running([sys.executable, "-m", "edge_agent.cli", "run", "--config", str(config)]):
            yield asyncio.run(_measure(own, folder, plan))


class App:
    """A program that hands in one sample after the other."""

    def __init__(self, link: aiomqtt.Client, seed: int) -> None:
        self._link = link
        self._x = pack(np.random.default_rng(seed).normal(size=64).astype("float32"))
        self._number = 0
        self.sizes = (0, 0)

    async def trip_s(self) -> float:
        """One sample until its prediction is there."""
        self._number += 1
        name = f"reading {self._number:09}"
        reading = encode(Reading(event_id=name, x=self._x))
        begin = perf_counter()
        await self._link.publish(IN.topic("default", "bench", "bench"), reading, qos=1)
        prediction = b""
        while name.encode() not in prediction:
            prediction = bytes((await anext(aiter(self._link.messages))).payload)
        taken = perf_counter() - begin
        self.sizes = (len(reading), len(prediction))
        return taken


@asynccontextmanager
async def _app(port: int, seed: int) -> AsyncIterator[App]:
    """An app whose readings are answered: the agent is there."""
    async with client(port) as link:
        await link.subscribe(OUT.topic("default", "bench", "bench"), qos=1)
        app = App(link, seed)
        while not app.sizes[1]:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await app.trip_s()
        yield app


async def _measure(port: int, folder: Path, plan: Plan) -> Row:
    async with _app(port, plan.seed) as app:
        there, back = app.sizes
        async with ping_pong(port, folder, bytes(there), 0, back=back) as bare:
            mine, theirs = await _take_turns(app, bare, plan.seconds)
    return Row(
        area="edge", name="in_out/p50", value=median(mine) * 1e3, unit="ms", better="lower", seed=plan.seed,
        runs=len(mine), data=f"64 float32, {there} bytes there and {back} back, softmax regression in NumPy",
        baseline="aiomqtt ping-pong over the same broker", baseline_value=median(theirs) * 1e3, budget=1.5,
    )  # fmt: skip


async def _take_turns(app: App, bare: PingPong, seconds: float) -> tuple[list[float], list[float]]:
    mine: list[float] = []
    theirs: list[float] = []
    until = perf_counter() + seconds
    while not mine or perf_counter() < until:
        for _ in range(TURN):
            mine.append(await app.trip_s())
            await asyncio.sleep(REST_S)
        for _ in range(TURN):
            theirs.append(await bare.trip_s(0))
            await asyncio.sleep(REST_S)
    return mine, theirs
