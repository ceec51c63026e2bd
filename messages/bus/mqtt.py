"""The bus over MQTT: a client that connects again by itself, at least once, with acknowledgements in the user's hands.

MQTT 5 is tried first: there a denied publish is told and the broker keeps to the receive maximum. On 3.1.1 a broker
says success for what it denies, and only receipts show the loss.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from types import TracebackType
from typing import Final, Self

from messages.bus.mqtt_connection import ConnectFailed, Connection
from messages.bus.protocol import Connected, Disconnected, Event, Incoming, NotConnected, Will
from messages.bus.settings import MqttSettings

FLUSH_S: Final = 1.0
STEADY_S: Final = 10.0
"""A connection that ends sooner is a short one: after several in a row the next waits longer, and a hint is given."""
SHORT: Final = 3


class MqttBus:
    """A `Bus` on one broker. `will` is asked anew for every connection; `random` draws the jitter of the back-off."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        client_id: str,
        subscriptions: Sequence[str],
        will: Callable[[], Will] | None,
        random: Random,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        self._subscriptions = tuple(subscriptions)
        self._will = will
        self._random = random
        self._protocol = "3.1.1" if settings.protocol == "3.1.1" else "5"
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"mqtt {self._client_id}")
        self._task.add_done_callback(lambda _task: self._wake.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what was posted (within a second), then disconnect so that no will is published."""
        connection, self._connection = self._connection, None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if connection is not None:
            await connection.close(FLUSH_S)
        self._closed = True
        self._wake.set()
        if self._task is not None and not self._task.cancelled():
            self._task.result()

    async def events(self) -> AsyncIterator[Event]:
        """All that happens, in order. One consumer; ends when the bus is closed."""
        queue, wake = self._queue, self._wake
        while not self._closed or queue:
            while queue:
                yield queue.popleft()
            if self._task is not None and self._task.done() and not self._task.cancelled():
                self._task.result()
            wake.clear()
            if not self._closed:
                await wake.wait()

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message to the network at QoS 1. Raises NotConnected; a denial comes as an event."""
        self._link(topic).send(topic, payload, retain, None)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """As `post`, but return when the broker has it. Raises NotConnected, PublishDenied."""
        done = asyncio.get_running_loop().create_future()
        self._link(topic).send(topic, payload, retain, done)
        await done

    def ack(self, message: Incoming) -> None:
        """Acknowledge one message. Does nothing for a message of an older connection."""
        match message.token:
            case (connection, int(mid)) if connection is self._connection and connection is not None:
                connection.ack(mid)

    def _link(self, topic: str) -> Connection:
        if self._connection is None:
            raise NotConnected(f"topic {topic}: not connected to {self._settings.endpoint}")
        return self._connection

    def _emit(self, event: Event) -> None:
        self._queue.append(event)
        self._wake.set()

    async def _run(self) -> None:
        failures = short = 0
        while True:
            try:
                connection = await self._connect()
            except ConnectFailed as failed:
                failures += 1
                await self._rest(str(failed), failures, refused=failed.refused)
                continue
            begin = asyncio.get_running_loop().time()
            reason = await connection.lost()
            self._connection = None
            connection.abort()
            failures, short = 0, short + 1 if asyncio.get_running_loop().time() - begin < STEADY_S else 0
            if short >= SHORT:  # not every broker says "Session taken over"
                reason += f", again and again soon after the login: does another client use the id {self._client_id!r}?"
            await self._rest(reason, min(max(short, 1), SHORT + 1))

    async def _connect(self) -> Connection:
        """Connect with the protocol that is known to work, or with 3.1.1 where MQTT 5 was turned away."""
        try:
            return await self._open(self._protocol)
        except ConnectFailed as failed:
            if not failed.other_protocol or self._settings.protocol != "auto":
                raise
            connection = await self._open(failed.other_protocol)
            if failed.for_good:
                self._protocol = failed.other_protocol
            return connection

    async def _open(self, protocol: str) -> Connection:
        connection = Connection(
            self._settings, self._client_id, self._will() if self._will else None, protocol=protocol
        )
        denied = await connection.open(self._subscriptions)
        self._connection = connection
        for event in denied:
            self._emit(event)
        self._emit(Connected(protocol))
        connection.start(self._emit)
        return connection

    async def _rest(self, reason: str, failures: int, *, refused: bool = False) -> None:
        """Report the lost link and wait: longer with every failure, and longest where a person has to act."""
        first, last = self._settings.retry_first_s, self._settings.retry_last_s
        limit = last if refused else min(last, first * 2.0 ** min(failures - 1, 32))
        retry_s = limit * self._random.uniform(0.5, 1.0)
        self._emit(Disconnected(reason, retry_s, refused))
        await asyncio.sleep(retry_s)
