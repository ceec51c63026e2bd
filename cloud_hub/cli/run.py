"""`cloud-hub run`: all parts of a hub put together, until SIGTERM."""

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from cloud_hub.broker.own import hub_access, own_broker
from cloud_hub.config import HubSettings
from cloud_hub.hub import Hub
from cloud_hub.naming import version
from cloud_hub.store import folder as storage
from cloud_hub.web.server import serving
from messages import channels
from messages.bus.mqtt import MqttBus
from messages.bus.settings import MqttSettings
from messages.host import stops

_log = logging.getLogger("cloud_hub")


async def serve(settings: HubSettings, mqtt: MqttSettings | None, folder: Path) -> None:
    """Run a hub until SIGTERM or SIGINT, with a broker of its own unless `mqtt` names another.

    `folder` is the config file's. Raises BrokerFailed, FolderError, WebError.
    """
    task = asyncio.create_task(_run(settings, mqtt, folder), name="hub")
    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            task.cancel()

    stops.leave_in_order(asyncio.get_running_loop(), stop)
    await asyncio.wait({task})
    if not task.cancelled() or not stopping.is_set():
        task.result()
    _log.info("stopped")


async def _run(settings: HubSettings, mqtt: MqttSettings | None, folder: Path) -> None:
    limits, data = settings.limits, Path(settings.data_dir)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(
            storage.opened(data, quarantine_rows=limits.quarantine_rows, dead_rows=limits.dead_rows)
        )
        waiting = sum(store.sample_totals(job).waiting for job in settings.jobs)
        names = ", ".join(settings.jobs) or "none"
        _log.info(
            "hub %s starts: namespace %s, jobs %s, %d samples wait", version(), settings.namespace, names, waiting
        )
        if mqtt is None:
            await stack.enter_async_context(own_broker(settings.broker, data / "broker"))
        bus = MqttBus(
            mqtt or hub_access(settings.broker), client_id=f"{settings.namespace}-{channels.HUB}",
            subscriptions=[channels.uplink(settings.namespace)], will=None, random=Random(),
        )  # fmt: skip
        hub = Hub(settings, store, bus, folder=folder)
        await stack.enter_async_context(serving(settings.http, hub.health, data))
        await hub.run()
