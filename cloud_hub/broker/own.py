"""The broker that a hub brings along: mosquitto as a child where it is installed, else the embedded one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cloud_hub.broker.child import mosquitto, mosquitto_program
from cloud_hub.broker.settings import BrokerSettings
from messages.bus.settings import MqttSettings
from messages.channels import HUB


@asynccontextmanager
async def own_broker(settings: BrokerSettings, folder: Path) -> AsyncIterator[None]:
    """Run a broker until the end of the block; its files lie in `folder`. Raises BrokerFailed."""
    program = mosquitto_program()
    if program is not None:
        async with mosquitto(program, settings, folder):
            yield
        return
    from cloud_hub.broker.embedded import embedded  # it takes 60 ms to import, for nothing where mosquitto is

    async with embedded(settings):
        yield


def hub_access(settings: BrokerSettings) -> MqttSettings:
    """How the hub itself reaches its own broker."""
    scheme = "mqtts" if settings.cert_file else "mqtt"
    host = "127.0.0.1" if settings.listen in ("", "0.0.0.0", "localhost") else settings.listen  # noqa: S104
    return MqttSettings(
        url=f"{scheme}://{host}:{settings.port}",
        username=HUB if settings.accounts else "",
        password_file=settings.accounts.get(HUB, ""),
        ca_file=settings.ca_file,
        retry_first_s=0.2,
        retry_last_s=5.0,
    )
