"""The least that such a transfer could be: ranges asked for by offset, hashed and written as they come, then the whole.

As a program it is the sender. The receiver keeps as many bytes under way as ours does at most. Neither waits for the
broker's word before it goes on: aiomqtt's own `publish` would, and be slower.
"""
# ruff: noqa: SLF001 - so it is paho's that is called

import asyncio
import os
import sys
from hashlib import file_digest, sha256
from pathlib import Path
from time import perf_counter

import aiomqtt

from messages.blobs.shapes import MOST_RANGE
from messages.blobs.window import MOST
from scripts.benches.delivery.bare import client

WANT, CHUNK = "bare/want", "bare/chunk"


async def receive(port: int, size: int, target: Path) -> float:
    """Fetch `size` bytes into a file; the seconds until it is whole and on the disk."""
    async with client(port) as link:
        await link.subscribe(CHUNK, qos=1)
        begin = perf_counter()
        offsets = iter(range(0, size, MOST_RANGE))
        for _ in range(MOST // MOST_RANGE):
            _ask(link, next(offsets, None))
        file = os.open(target, os.O_RDWR | os.O_CREAT)
        left = size
        while left:
            message = await anext(aiter(link.messages))
            assert isinstance(message.payload, bytes)
            data = memoryview(message.payload)[8:]
            sha256(data).digest()
            os.pwrite(file, data, int.from_bytes(message.payload[:8], "big"))
            left -= len(data)
            _ask(link, next(offsets, None))
        await asyncio.to_thread(_finish, file, target)
        return perf_counter() - begin


def _finish(file: int, target: Path) -> None:
    with os.fdopen(file, "rb") as content:
        file_digest(content, "sha256").digest()
        os.fsync(content.fileno())
    target.rename(target.with_suffix(".whole"))


def _ask(link: aiomqtt.Client, offset: int | None) -> None:
    if offset is not None:
        link._client.publish(WANT, offset.to_bytes(8, "big"), qos=1)


async def send(port: int, source: Path) -> None:
    """Give what is asked for, until killed."""
    with source.open("rb") as file:
        async with client(port) as link:
            await link.subscribe(WANT, qos=1)
            print("ready", flush=True)
            async for message in link.messages:
                assert isinstance(message.payload, bytes)
                data = os.pread(file.fileno(), MOST_RANGE, int.from_bytes(message.payload, "big"))
                link._client.publish(CHUNK, message.payload + data, qos=1)


if __name__ == "__main__":
    asyncio.run(send(int(sys.argv[1]), Path(sys.argv[2])))
