"""How long a command takes while a model comes down a slow line: to the agent, stored there, and its receipt back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from messages import channels
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Incoming
from messages.bus.settings import MqttSettings
from messages.codec import decode, encode
from messages.shapes import Answer, Classes, Receipt
from scripts.benches import Plan, Row
from scripts.benches.blob.programs import NODE, Program, program
from scripts.benches.delivery.processes import broker
from tests.support.proxy import proxy

MBIT = 20
SIZE = 20_000_000
EVERY_S = 0.1
IDLE = 30


class Commander:
    """Sends answers that nobody asked for, and waits for their receipts: what any command goes through."""

    def __init__(self, bus: MqttBus) -> None:
        self._bus = bus
        self._sent: dict[str, float] = {}
        self.connected = asyncio.Event()
        self.times: list[float] = []

    async def listen(self) -> None:
        """Take receipts in."""
        async for event in self._bus.events():
            if isinstance(event, Connected):
                self.connected.set()
            if isinstance(event, Incoming):
                self._bus.ack(event)
                for event_id in decode(Receipt, event.payload).done:
                    self.times.append(perf_counter() - self._sent.pop(event_id))

    async def command(self) -> None:
        """Send one, and wait a little."""
        number = len(self.times) + len(self._sent)
        answer = Answer(
            event_id=f"c.{number}", timestamp=0, job="bench", sample_id=str(number), value=Classes(probs=(1.0,))
        )
        self._sent[answer.event_id] = perf_counter()
        self._bus.post(channels.DOWN_ANSWER.topic("default", NODE), encode(answer))
        await asyncio.sleep(EVERY_S)


def command(plan: Plan) -> Iterator[Row]:
    """The middle one of all that were sent during the download; beside it on the same line without one."""
    with TemporaryDirectory() as place, broker() as port:
        folder = Path(place)
        source = folder / "source"
        source.write_bytes(np.random.default_rng(plan.seed).bytes(SIZE))
        with program("hub", port, folder / "hub") as hub:
            idle, busy, took = asyncio.run(_measure(port, folder, hub.order(str(source))))
    yield Row(
        area="blob", name="command_p50_ms", value=1e3 * median(busy), unit="ms", better="lower", seed=plan.seed,
        runs=len(busy), data=f"{SIZE // 1_000_000} MB at {SIZE * 8e-6 / took:.1f} of {MBIT} Mbit/s",
        baseline="the same line without a download", baseline_value=1e3 * median(idle), budget=100.0, budget_of="value",
    )  # fmt: skip


async def _measure(port: int, folder: Path, ref: str) -> tuple[list[float], list[float], float]:
    settings = MqttSettings(url=f"mqtt://127.0.0.1:{port}")
    receipts = [channels.UP_RECEIPT.topic("default", NODE)]
    bus = MqttBus(settings, client_id="commander", subscriptions=receipts, will=None, random=Random(0))
    async with proxy(port) as line, bus:
        line.down.bytes_per_s = line.up.bytes_per_s = MBIT * 125_000.0
        commander = Commander(bus)
        listening = asyncio.create_task(commander.listen(), name="receipts")
        await commander.connected.wait()
        starting = program("agent", line.port, folder / "agent")
        agent: Program = await asyncio.to_thread(starting.__enter__)
        try:
            for _ in range(IDLE):
                await commander.command()
            idle, commander.times = commander.times, []
            fetch = asyncio.create_task(asyncio.to_thread(agent.order, ref), name="fetch")
            while not fetch.done():
                await commander.command()
            took = float(fetch.result().split()[0])
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)
            listening.cancel()
    return idle, commander.times, took
