"""A broker and its clients in memory: the same protocol as over MQTT, without sockets.

Links break when `drop` says so. As over MQTT with clean sessions, what was on its way to a client that lost its link is
gone, and an unacknowledged message is not delivered again; a retained one is there for whoever subscribes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Final, Self

from messages.bus.filters import matches
from messages.bus.protocol import Connected, Disconnected, Event, Incoming, NotConnected, Will

RETRY_S: Final = 0.02


class MemoryBroker:
    """Routes messages between the buses that were made with it. While it is down nobody can connect."""

    def __init__(self) -> None:
        self._retained: dict[str, bytes] = {}
        self._online: dict[str, MemoryBus] = {}
        self._up = True

    def stop(self) -> None:
        """Go down with everything that is retained, as a killed broker does. No will is published."""
        self._up = False
        self._retained.clear()
        for client_id in list(self._online):
            self._online.pop(client_id).lose("the broker is down")

    def start(self) -> None:
        """Accept connections again."""
        self._up = True

    def drop(self, client_id: str) -> None:
        """Cut one client's link: its last will is published. Nothing happens to one that is not connected."""
        bus = self._online.pop(client_id, None)
        if bus is not None:
            bus.lose("the link was cut")
            if bus.last_will is not None:
                self.route(bus.last_will.topic, bus.last_will.payload, retain=bus.last_will.retain)

    def attach(self, bus: "MemoryBus") -> bool:
        """Connect a bus, which takes over from another of its name. Answers False while the broker is down."""
        if not self._up:
            return False
        self.drop(bus.client_id)
        self._online[bus.client_id] = bus
        return True

    def detach(self, bus: "MemoryBus") -> None:
        """Disconnect a bus in order: no will is published."""
        if self._online.get(bus.client_id) is bus:
            del self._online[bus.client_id]

    def route(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Give a message to every client that subscribed to it, once each, and keep or clear what is retained."""
        if retain and payload:
            self._retained[topic] = payload
        elif retain:
            self._retained.pop(topic, None)
        for bus in list(self._online.values()):
            if bus.wants(topic):
                bus.deliver(topic, payload, retained=False)

    def retained(self) -> list[tuple[str, bytes]]:
        """What a new subscriber is offered."""
        return list(self._retained.items())


class MemoryBus:
    """A `Bus` on a `MemoryBroker`."""

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        will: Callable[[], Will] | None,
    ) -> None:
        self.client_id = client_id
        self.last_will: Will | None = None
        self.unacknowledged = 0
        self._broker = broker
        self._subscriptions = tuple(subscriptions)
        self._will = will
        self._session = 0
        self._online = False
        self._closed = False
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._connect():
            self.lose("the broker is down")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect: the will is not published."""
        self._broker.detach(self)
        self._online = False
        self._closed = True
        self._wake.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def events(self) -> AsyncIterator[Event]:
        """All that happens, in order. One consumer; ends when the bus is closed."""
        while not self._closed or self._queue:
            while self._queue:
                yield self._queue.popleft()
            self._wake.clear()
            if not self._closed:
                await self._wake.wait()

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Route a message at once. Raises NotConnected."""
        if not self._online:
            raise NotConnected(f"topic {topic}: not connected to the broker in memory")
        self._broker.route(topic, payload, retain=retain)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """As `post`: the broker in memory has it at once. Raises NotConnected."""
        self.post(topic, payload, retain=retain)

    def ack(self, message: Incoming) -> None:
        """Count one message as durable. Does nothing for a message of an older connection."""
        if message.token == self._session and self._online:
            self.unacknowledged -= 1

    def wants(self, topic: str) -> bool:
        """Whether a subscription takes this topic."""
        return any(matches(pattern, topic) for pattern in self._subscriptions)

    def deliver(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take a message from the broker."""
        self.unacknowledged += 1
        self._emit(Incoming(topic, payload, retained, self._session))

    def lose(self, reason: str) -> None:
        """Take note that the link is gone, and begin to try again."""
        self._online = False
        self._emit(Disconnected(reason, RETRY_S))
        self._task = asyncio.create_task(self._reconnect(), name=f"memory bus {self.client_id}")

    async def _reconnect(self) -> None:
        while not self._connect():  # noqa: ASYNC110 - what a client of a broker that is down does
            await asyncio.sleep(RETRY_S)

    def _connect(self) -> bool:
        self.last_will = self._will() if self._will else None
        if not self._broker.attach(self):
            return False
        self._session += 1
        self._online = True
        self.unacknowledged = 0
        self._emit(Connected("memory"))
        for topic, payload in self._broker.retained():
            if self.wants(topic):
                self.deliver(topic, payload, retained=True)
        return True

    def _emit(self, event: Event) -> None:
        self._queue.append(event)
        self._wake.set()
