"""`cloud-hub run`: all parts of a hub put together, until SIGTERM."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from cloud_hub.config import HubSettings
from cloud_hub.hub import Hub
from cloud_hub.naming import version
from cloud_hub.store import folder as storage
from cloud_hub.web.server import serving
from messages import channels
from messages.bus.mqtt import MqttBus
from messages.bus.settings import MqttSettings

_log = logging.getLogger("cloud_hub")


async def serve(settings: HubSettings, mqtt: MqttSettings, folder: Path) -> None:
    """Run a hub until SIGTERM or SIGINT. `folder` is the config file's. Raises FolderError, WebError."""
    limits, data = settings.limits, Path(settings.data_dir)
    with storage.opened(data, quarantine_rows=limits.quarantine_rows, dead_rows=limits.dead_rows) as store:
        bus = MqttBus(
            mqtt, client_id=f"{settings.namespace}-{channels.HUB}",
            subscriptions=[channels.uplink(settings.namespace)], will=None, random=Random(),
        )  # fmt: skip
        hub = Hub(settings, store, bus, folder=folder)
        waiting = sum(store.sample_totals(job).waiting for job in settings.jobs)
        names = ", ".join(settings.jobs) or "none"
        _log.info(
            "hub %s starts: namespace %s, jobs %s, %d samples wait", version(), settings.namespace, names, waiting
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(serving(settings.http, hub.health, data))
            await _until_signal(hub)
    _log.info("stopped")


async def _until_signal(hub: Hub) -> None:
    task = asyncio.create_task(hub.run(), name="hub")
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.wait({task})
    if not stopping:
        task.result()
