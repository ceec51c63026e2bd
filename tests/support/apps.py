"""Another program on the device, as its author would write it: raw MQTT, no library of ours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgpack
from msgspec import json

from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Incoming
from messages.bus.settings import MqttSettings
from tests.support.events import until

ROOT = "default/skerry/v1/device-1"


class App:
    """Hands in readings of one job, and keeps all that comes back."""

    def __init__(self, access: MqttSettings, job: str = "side") -> None:
        self.heard: list[dict[str, Any]] = []
        self._in = f"{ROOT}/in/{job}"
        self._bus = MqttBus(access, client_id="app", subscriptions=[f"{ROOT}/out/{job}"], will=None, random=Random(0))
        self.connections = 0

    def hand_in(self, reading: Any, *, retain: bool = False) -> None:
        """Publish a reading: bytes as they are, anything else as JSON."""
        payload = reading if isinstance(reading, bytes) else json.encode(reading)
        self._bus.post(self._in, payload, retain=retain)

    def of(self, sample_id: str) -> list[dict[str, Any]]:
        """The predictions of one sample, in the order in which they came."""
        return [message for message in self.heard if message["sample_id"] == sample_id]

    async def listen(self) -> None:
        """Hear predictions until cancelled."""
        async with self._bus as bus:
            async for event in bus.events():
                if isinstance(event, Connected):
                    self.connections += 1
                if isinstance(event, Incoming):
                    read = json.decode if event.payload.startswith(b"{") else msgpack.unpackb
                    self.heard.append(read(event.payload))
                    bus.ack(event)


@asynccontextmanager
async def app(access: MqttSettings, job: str = "side") -> AsyncIterator[App]:
    """An app that is connected."""
    program = App(access, job)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(program.listen(), name="an app")
        await until(lambda: program.connections > 0, within_s=10)
        yield program
        task.cancel()
