"""The baseline: an aiomqtt subscriber that counts and stores nothing; prints its rate over some seconds."""

import asyncio
import sys
import time

import aiomqtt

from messages.channels import uplink


async def main(port: int, seconds: float) -> None:
    """Count from the first message on."""
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(uplink("default"), qos=1)
        number, begin = 0, 0.0
        async for _ in client.messages:
            begin = begin or time.perf_counter()
            number += 1
            if time.perf_counter() - begin >= seconds:
                break
        print(number / (time.perf_counter() - begin), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
