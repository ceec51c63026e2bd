"""Waiting for what a bus tells, and for what becomes true."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from messages.bus.protocol import Bus, Event, Incoming

E = TypeVar("E", bound=Event)


async def first(bus: Bus, kind: type[E]) -> E:
    """The next event of a kind; what else happens before it is passed over."""
    async with asyncio.timeout(15):
        async for event in bus.events():
            if isinstance(event, kind):
                return event
    raise AssertionError("the bus ended")


async def take(bus: Bus) -> tuple[str, bytes]:
    """The next message's topic and payload, acknowledged."""
    message = await first(bus, Incoming)
    bus.ack(message)
    return message.topic, message.payload


async def collected(bus: Bus, *, quiet_s: float) -> list[Incoming]:
    """What comes until nothing came for a while, unacknowledged."""
    messages: list[Incoming] = []
    while True:
        try:
            async with asyncio.timeout(quiet_s):
                messages.append(await first(bus, Incoming))
        except TimeoutError:
            return messages


async def until(condition: Callable[[], bool], *, within_s: float, every_s: float = 0.02) -> None:
    """Until a condition that others bring about holds."""
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(every_s)
