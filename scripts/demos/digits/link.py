"""The link of one device: a TCP relay that can be cut."""

import asyncio
from asyncio import StreamReader, StreamWriter
from contextlib import suppress


class Link:
    """Carries bytes from its own `port` to a broker's."""

    def __init__(self, broker_port: int) -> None:
        self.port = 0
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._writers: set[StreamWriter] = set()

    async def open(self) -> None:
        """Carry again; the first time on a free port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Drop all connections and take no new ones; returns when nothing is carried any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._writers:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)

    async def _carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        self._writers |= ends
        try:
            await asyncio.gather(_pour(reader, back), _pour(there, writer))
        finally:
            self._writers -= ends


async def _pour(source: StreamReader, drain: StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            drain.write(data)
            await drain.drain()
    drain.transport.abort()
