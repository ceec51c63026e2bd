"""What programs need of a network. Nobody above this line knows about sockets, packets or reconnecting.

A bus is an event stream and two verbs:

    async with bus:
        async for event in bus.events():
            match event:
                case Connected(): ...       # again after every reconnect; subscriptions are in place
                case Disconnected(): ...
                case Denied(): ...          # the broker refused a topic
                case Incoming(): ...        # acknowledge with bus.ack(event) once it is durable

Everything is at least once and in any order. Losing a message between two processes is normal here: `delivery` is
what makes it good.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


class BusError(Exception):
    """The tree of what a bus raises: NotConnected, PublishDenied, BusRefused."""


class NotConnected(BusError):
    """There is no connection now. Not an error for anyone with an outbox."""


class PublishDenied(BusError):
    """The broker refused a publish and said so (MQTT 5 only). The text names topic and reason."""


class BusRefused(BusError):
    """Waiting will not help without a person: wrong password, unknown host name, bad certificate."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The link is up and the subscriptions are granted. `protocol` is what was agreed on, e.g. "5" or "3.1.1"."""

    protocol: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link is down. `retry_s` is when the bus tries again by itself; `refused` says that a person should look."""

    reason: str
    retry_s: float
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """The broker refused a publish (MQTT 5) or a subscription (both) to this topic."""

    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message. `token` belongs to the bus and to the connection it came over."""

    topic: str
    payload: bytes
    retained: bool
    token: object


Event = Connected | Disconnected | Denied | Incoming


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when this client vanishes."""

    topic: str
    payload: bytes
    retain: bool


class Bus(Protocol):
    """A client of a broker that reconnects by itself."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect cleanly: what was posted goes out first (within a second), the will is not published."""

    def events(self) -> AsyncIterator[Event]:
        """All that happens, in the order in which it happened. One consumer."""

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message to the network at QoS 1 and return at once. Raises NotConnected."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """As `post`, but return when the broker has it. Raises NotConnected (or when the link dies), PublishDenied."""

    def ack(self, message: Incoming) -> None:
        """Tell the broker that a message is durable here. Does nothing for a message of an older connection."""
