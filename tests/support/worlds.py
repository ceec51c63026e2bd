"""The networks on which every bus is tried: one in memory, and each broker behind proxies that can cut and freeze."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from messages.bus.memory import MemoryBroker, MemoryBus
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Bus, Will
from messages.channels import HUB
from tests.support.brokers import RunningBroker, amqtt_broker, mosquitto
from tests.support.proxy import Proxy, proxy

NODE: Final = "cam-1"
BROKERS: Final = {"mosquitto, MQTT 5": "5", "mosquitto, MQTT 3.1.1": "3.1.1", "amqtt": "3.1.1"}
"""The protocol to speak by broker."""


class World(Protocol):
    """A broker and its clients, which are called `hub` and `cam-1`."""

    def bus(self, name: str, *subscriptions: str, will: Callable[[], Will] | None = None) -> Bus:
        """A client, not connected yet."""

    def drop(self, name: str) -> None:
        """Cut a client's link, so that its will is published."""

    def go_down(self) -> None:
        """Kill the broker."""

    async def come_back(self) -> None:
        """Start the broker with nothing of what it had."""


class MemoryWorld:
    """The double."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()

    def bus(self, name: str, *subscriptions: str, will: Callable[[], Will] | None = None) -> Bus:
        return MemoryBus(self.broker, client_id=name, subscriptions=subscriptions, will=will)

    def drop(self, name: str) -> None:
        self.broker.drop(name)

    def go_down(self) -> None:
        self.broker.stop()

    async def come_back(self) -> None:
        self.broker.start()


class MqttWorld:
    """A real broker with a proxy in front of each client."""

    def __init__(self, broker: RunningBroker, links: dict[str, Proxy], protocol: str) -> None:
        self.broker = broker
        self.links = links
        self.protocol = protocol

    def bus(self, name: str, *subscriptions: str, will: Callable[[], Will] | None = None, **options: Any) -> MqttBus:
        """A client; `options` are fields of MqttSettings."""
        url = f"mqtt://127.0.0.1:{self.links[name].port}"
        access = self.broker.client(name, **{"url": url, "protocol": self.protocol, **options})
        return MqttBus(access, client_id=name, subscriptions=subscriptions, will=will, random=Random(1))

    def drop(self, name: str) -> None:
        self.links[name].cut()

    def go_down(self) -> None:
        self.broker.kill()

    async def come_back(self) -> None:
        await self.broker.start()


@asynccontextmanager
async def mqtt_world(kind: str, folder: Path, **options: Any) -> AsyncIterator[MqttWorld]:
    """A broker of one kind of BROKERS; `options` are those of its start."""
    start = amqtt_broker if kind == "amqtt" else mosquitto
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(start(folder, **options))
        links = {name: await stack.enter_async_context(proxy(broker.port)) for name in (HUB, NODE)}
        yield MqttWorld(broker, links, BROKERS[kind])
