"""The least that a durable round trip over MQTT could cost: aiomqtt there and back, and bare commits at both ends.

As a program it is the other end: it commits as often as it is told, then sends each message back.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY
from time import perf_counter

import aiomqtt

from messages.delivery.sqlite import connect
from scripts.benches.delivery.processes import running

PING, PONG = "bare/ping", "bare/pong"


class PingPong:
    """One end of the ping-pong, with a database of its own."""

    def __init__(self, link: aiomqtt.Client, folder: Path, payload: bytes) -> None:
        self._link = link
        self._connection = _database(folder / "ping.db")
        self._payload = payload

    async def trip_s(self, number: int) -> float:
        """There and back, with `number` commits at this end."""
        begin = perf_counter()
        _commit(self._connection, self._payload, number)
        await self._link.publish(PING, self._payload, qos=1)
        await anext(aiter(self._link.messages))
        return perf_counter() - begin


@asynccontextmanager
async def ping_pong(
    port: int, folder: Path, payload: bytes, echo_commits: int, *, back: int | None = None
) -> AsyncIterator[PingPong]:
    """Both ends, ready. What comes back has `back` bytes, or as many as went there."""
    module = "scripts.benches.delivery.bare"
    with running(
        [sys.executable, "-m", module, str(port), str(echo_commits), str(folder), str(back or len(payload))]
    ) as echo:
        assert echo.stdout is not None
        await asyncio.to_thread(echo.stdout.readline)
        async with client(port) as link:
            await link.subscribe(PONG, qos=1)
            yield PingPong(link, folder, payload)


async def main(port: int, number: int, folder: Path, size: int) -> None:
    """Echo the first `size` bytes until killed, with `number` commits for each message."""
    connection = _database(folder / "pong.db")
    async with client(port) as link:
        await link.subscribe(PING, qos=1)
        print("ready", flush=True)
        async for message in link.messages:
            assert isinstance(message.payload, bytes)
            _commit(connection, message.payload, number)
            await link.publish(PONG, message.payload[:size], qos=1)


def client(port: int) -> aiomqtt.Client:
    """A bare client, as fast as it goes."""
    options = [(IPPROTO_TCP, TCP_NODELAY, 1)]
    return aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, socket_options=options)


def _database(file: Path) -> sqlite3.Connection:
    """As both programs open theirs: every commit survives a power cut."""
    connection = connect(file, full=True)
    connection.execute("CREATE TABLE rows (body BLOB)")
    return connection


def _commit(connection: sqlite3.Connection, payload: bytes, number: int) -> None:
    for _ in range(number):
        connection.execute("INSERT INTO rows VALUES (?)", (payload,))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
