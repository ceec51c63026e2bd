"""A TCP proxy between a client and a broker, for a test to slow down, freeze or cut, each direction by itself."""

import asyncio
import contextlib
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from tests.support.ports import free_port

READ_BYTES: Final = 65_536
QUEUED: Final = 256
"""Pieces under way in one direction of one link: with a latency, this bounds what is buffered."""
APART_S: Final = 0.0002
"""Between the pieces of a torn packet, so that they do not meet again in one read of the receiver."""


@dataclass(slots=True)
class Direction:
    """What happens to bytes that go one way, on every link; 0 means unhindered. Changes count from the next piece on.

    `piece` is the most bytes of one write: 1 tears packets apart. `passed` counts the bytes that came through.
    """

    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    piece: int = 0
    passed: int = 0
    _flows: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._flows.set()

    def freeze(self) -> None:
        """Let nothing through, not even an end of the link: a half-open link, as behind a dead router."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let through what waited, as TCP does after a gap, and all that follows."""
        self._flows.set()

    async def carry(self, data: bytes, writer: StreamWriter) -> None:
        """Write one read's bytes to the other end, as torn and as slowly as this direction is."""
        step = self.piece or READ_BYTES
        if self.bytes_per_s:
            step = min(step, max(1, int(self.bytes_per_s / 20.0)))
        for start in range(0, len(data), step):
            await self._flows.wait()
            piece = data[start : start + step]
            writer.write(piece)
            await writer.drain()
            self.passed += len(piece)
            pause = len(piece) / self.bytes_per_s if self.bytes_per_s else 0.0
            await asyncio.sleep(max(pause, APART_S) if self.piece else pause)

    async def end(self, writer: StreamWriter) -> None:
        """Pass on that the sender has closed its end."""
        await self._flows.wait()
        writer.write_eof()


class Proxy:
    """Listens on `port` and connects each link to `target_port`. `up` leads to the broker, `down` to the client."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.up = Direction()
        self.down = Direction()
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], list[StreamWriter]] = {}

    @property
    def links(self) -> int:
        """How many links there are now."""
        return len(self._links)

    async def open(self) -> None:
        """Accept links, from the first or after `refuse`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Break every link at once, with a reset at both ends; the next ones are accepted."""
        for task, writers in self._links.items():
            task.cancel()
            for writer in writers:
                _reset(writer)

    def refuse(self) -> None:
        """Break every link and accept none, until `open`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def freeze(self) -> None:
        """Let nothing through either way while the links stay open."""
        self.up.freeze()
        self.down.freeze()

    def thaw(self) -> None:
        """End `freeze`."""
        self.up.thaw()
        self.down.thaw()

    async def close(self) -> None:
        """Break all links and wait until nothing is left of them."""
        tasks = list(self._links)
        self.refuse()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        writers = [writer]
        task = asyncio.create_task(self._link(reader, writer, writers), name=f"proxy link {self.port}")
        self._links[task] = writers
        task.add_done_callback(self._links.pop)

    async def _link(self, reader: StreamReader, writer: StreamWriter, writers: list[StreamWriter]) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_flow(reader, far_writer, self.up), name=f"proxy up {self.port}")
                ways.create_task(_flow(far_reader, writer, self.down), name=f"proxy down {self.port}")
        except* OSError:
            pass  # one end is gone, so the other one goes too
        finally:
            for each in writers:
                _reset(each)


async def _flow(reader: StreamReader, writer: StreamWriter, way: Direction) -> None:
    """Read as fast as the queue allows and deliver each piece when its latency is over."""
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)
    async with asyncio.TaskGroup() as both:
        both.create_task(_deliver(queue, writer, way), name="proxy delivery")
        data = b"-"
        while data:
            data = await reader.read(READ_BYTES)
            await queue.put((asyncio.get_running_loop().time() + way.latency_s, data))


async def _deliver(queue: asyncio.Queue[tuple[float, bytes]], writer: StreamWriter, way: Direction) -> None:
    while True:
        due, data = await queue.get()
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        if not data:
            await way.end(writer)
            return
        await way.carry(data, writer)


def _reset(writer: StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy(target_port: int) -> AsyncIterator[Proxy]:
    """A proxy to a port of this machine until the end of the block."""
    between = Proxy(free_port(), target_port)
    await between.open()
    try:
        yield between
    finally:
        await between.close()
