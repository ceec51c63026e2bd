"""The baseline: an aiomqtt subscriber that counts and stores nothing; prints its number again and again."""

import asyncio
import sys

import aiomqtt

from messages.channels import uplink

EVERY_S = 0.01


class Subscriber:
    """Counts until killed."""

    def __init__(self) -> None:
        self._number = 0

    async def run(self, port: int) -> None:
        """Subscribe, then count."""
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe(uplink("default"), qos=1)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._show(), name="show")
                async for _ in client.messages:
                    self._number += 1

    async def _show(self) -> None:
        while True:
            print(self._number, flush=True)
            await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    asyncio.run(Subscriber().run(int(sys.argv[1])))
