"""The least that such a transfer could be: ranges asked for by offset, hashed and written as they come, then the whole.

On the bus that both programs use: two plain aiomqtt clients would be slower than ours. As a program it is the sender.
The receiver keeps as many bytes under way as ours does at most.
"""

import asyncio
import os
import sys
from hashlib import file_digest, sha256
from pathlib import Path
from random import Random
from time import perf_counter

from messages.blobs.shapes import MOST_RANGE
from messages.blobs.window import MOST
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Incoming
from messages.bus.settings import MqttSettings

WANT, CHUNK = "bare/want", "bare/chunk"


async def receive(port: int, size: int, target: Path) -> float:
    """Fetch `size` bytes into a file; the seconds until it is whole and on the disk."""
    offsets = iter(range(0, size, MOST_RANGE))
    file, left, begin = os.open(target, os.O_RDWR | os.O_CREAT), size, 0.0
    async with _bus(port, CHUNK) as bus:
        async for event in bus.events():
            if isinstance(event, Connected):
                begin = perf_counter()
                for _ in range(MOST // MOST_RANGE):
                    _ask(bus, next(offsets, None))
            if isinstance(event, Incoming):
                data = memoryview(event.payload)[8:]
                sha256(data).digest()
                os.pwrite(file, data, int.from_bytes(event.payload[:8], "big"))
                bus.ack(event)
                _ask(bus, next(offsets, None))
                left -= len(data)
            if not left:
                break
        await asyncio.to_thread(_finish, file, target)
        return perf_counter() - begin


def _finish(file: int, target: Path) -> None:
    with os.fdopen(file, "rb") as content:
        file_digest(content, "sha256").digest()
        os.fsync(content.fileno())
    target.rename(target.with_suffix(".whole"))


def _ask(bus: MqttBus, offset: int | None) -> None:
    if offset is not None:
        bus.post(WANT, offset.to_bytes(8, "big"))


def _bus(port: int, topic: str) -> MqttBus:
    settings = MqttSettings(url=f"mqtt://127.0.0.1:{port}")
    return MqttBus(settings, client_id=topic, subscriptions=[topic], will=None, random=Random(0))


async def send(port: int, source: Path) -> None:
    """Give what is asked for, until killed."""
    with source.open("rb") as file:
        async with _bus(port, WANT) as bus:
            async for event in bus.events():
                if isinstance(event, Connected):
                    print("ready", flush=True)
                if isinstance(event, Incoming):
                    data = os.pread(file.fileno(), MOST_RANGE, int.from_bytes(event.payload, "big"))
                    bus.post(CHUNK, event.payload + data)
                    bus.ack(event)


if __name__ == "__main__":
    asyncio.run(send(int(sys.argv[1]), Path(sys.argv[2])))
