"""The embedded broker in a process of its own, for a test to kill: one argument, its settings as JSON."""

import asyncio
import sys

import msgspec

from cloud_hub.broker.embedded import embedded
from cloud_hub.broker.settings import BrokerSettings


async def main(settings: BrokerSettings) -> None:
    """Serve until the process is killed."""
    async with embedded(settings):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=BrokerSettings)))
