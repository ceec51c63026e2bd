"""A hub at run time on a bus in memory, and a node that speaks to it by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from msgspec import structs

from cloud_hub.config import HubSettings, Limits
from cloud_hub.hub import Hub
from cloud_hub.store.database import HubDatabase
from cloud_hub.store.folder import opened
from messages import channels
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.bus.protocol import Disconnected, Incoming
from messages.channels import Channel
from messages.codec import decode, encode
from messages.delivery.sender import Pace
from messages.shapes import Answer, Classes, Envelope, HardSample, NodeStatus, Receipt
from messages.tensors import pack
from tests.support.big_models import write_models

T = TypeVar("T", bound=Envelope)
PACE = Pace(window=64, first_s=0.3, last_s=1.0)


class Node:
    """One device, told by the test what to say. What it hears is kept by channel."""

    def __init__(self, broker: MemoryBroker, name: str = "device-1") -> None:
        self.name = name
        self.session = 1
        self.connected = False
        self._seq = 0
        self._bus = MemoryBus(broker, client_id=name, subscriptions=[channels.downlink("default", name)], will=None)
        self._heard: dict[str, asyncio.Queue[bytes]] = {}

    def send(self, channel: Channel[Any], message: Envelope | bytes) -> None:
        payload = message if isinstance(message, bytes) else encode(message)
        self._bus.post(channel.topic("default", self.name), payload, retain=channel.retain)

    def status(self, state: str = "online", **more: Any) -> None:
        self.send(
            channels.UP_STATUS,
            NodeStatus(event_id=f"st-{self.session}", timestamp=1, state=state, session=self.session, **more),  # type: ignore[arg-type]
        )

    def sample(self, number: float, sample_id: str = "", **more: Any) -> str:
        """Send a sample; returns its event id."""
        self._seq += 1
        message = HardSample(
            event_id=f"s.{self._seq}", timestamp=1, job="digits", sample_id=sample_id or str(self._seq),
            x=pack(np.array([number, 1.0], "float32")), edge=Classes(probs=(0.5, 0.5)), reason="hard",
        )  # fmt: skip
        self.send(channels.UP_SAMPLE, structs.replace(message, **more))
        return message.event_id

    async def hear(self, channel: Channel[T], timeout_s: float = 20.0) -> T:
        """The next message on a channel."""
        async with asyncio.timeout(timeout_s):
            return decode(channel.shape, await self._queue(channel.path).get())

    async def done(self, event_id: str) -> None:
        """Wait until the hub has stored a message."""
        while event_id not in (await self.hear(channels.DOWN_RECEIPT)).done:
            pass

    async def answer(self) -> Answer:
        """The next answer, receipted."""
        answer = await self.hear(channels.DOWN_ANSWER)
        receipt = Receipt(event_id="r", timestamp=1, done=(answer.event_id,), credit=64)
        self.send(channels.UP_RECEIPT, receipt)
        return answer

    async def listen(self) -> None:
        async with self._bus as bus:
            async for event in bus.events():
                self.connected = not isinstance(event, Disconnected)
                if isinstance(event, Incoming):
                    self._queue(channels.parse(event.topic).path).put_nowait(event.payload)
                    bus.ack(event)

    def _queue(self, path: str) -> asyncio.Queue[bytes]:
        return self._heard.setdefault(path, asyncio.Queue())


@asynccontextmanager
async def node(broker: MemoryBroker, name: str = "device-1") -> AsyncIterator[Node]:
    """A node that is connected and listens."""
    device = Node(broker, name)
    task = asyncio.create_task(device.listen(), name=name)
    await asyncio.sleep(0)
    try:
        yield device
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def hub(folder: Path, broker: MemoryBroker, settings: HubSettings | None = None) -> AsyncIterator[Hub]:
    """A hub that is connected, and serves until the block ends."""
    write_models(folder)
    settings = structs.replace(settings or HubSettings(), data_dir=str(folder / "data"), pace=PACE)
    with opened(folder / "data", quarantine_rows=100, dead_rows=100) as store:
        bus = MemoryBus(broker, client_id="hub", subscriptions=[channels.uplink("default")], will=None)
        running = Hub(settings, store, bus, folder=folder)
        task = asyncio.create_task(running.run(), name="hub")
        try:
            await until(lambda: not running.health.broker or task.done())
            yield running
        finally:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def limits(**more: Any) -> Limits:
    """Limits that leave the test machine's disk out of the story."""
    return Limits(**{"disk_reserve": 0, **more})


__all__ = ["Hub", "HubDatabase", "Node", "hub", "limits", "node", "until"]
