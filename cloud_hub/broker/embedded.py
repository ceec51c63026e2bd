"""amqtt inside the hub's own process, for a first try on a machine without mosquitto.

It speaks MQTT 3.1.1 only, never notices a dead link (so last wills come late), keeps nothing over a restart and is ten
times slower. Delivery makes all of that safe; a fleet should have mosquitto.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.errors import AMQTTError, BrokerError
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from cloud_hub.broker.child import BrokerFailed, port_is_free
from cloud_hub.broker.files import check_password, hash_password
from cloud_hub.broker.settings import BrokerSettings
from messages.bus.filters import covers, matches
from messages.channels import HUB, hub_grants, node_grants

WARNING = (
    "mosquitto is not on this machine: using the embedded broker, which is slow, speaks MQTT 3.1.1 only and notices"
    " dead links late; apt-get install mosquitto"
)

_log = logging.getLogger("cloud_hub")


@asynccontextmanager
async def embedded(settings: BrokerSettings) -> AsyncIterator[None]:
    """Run the embedded broker until the end of the block. Raises BrokerFailed."""
    _log.warning(WARNING)
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    if settings.cert_file:
        raise BrokerFailed("broker: the embedded broker has no TLS; apt-get install mosquitto")
    await port_is_free(settings)
    try:
        broker = Broker(config(settings), loop=asyncio.get_running_loop())
        await broker.start()
    except (AMQTTError, OSError, ValueError) as error:
        raise BrokerFailed(f"broker: {error}") from error
    try:
        yield
    finally:
        try:
            await asyncio.wait_for(broker.shutdown(), 1.0)
        except (TimeoutError, BrokerError):
            _log.warning("the embedded broker did not end in time")


def config(settings: BrokerSettings) -> dict[str, object]:
    """Amqtt's configuration: the same accounts and topics that mosquitto would be given."""
    if settings.accounts:
        hashes = {name: hash_password(word, secrets.token_bytes(12)) for name, word in settings.passwords().items()}
        here = __name__
        plugins: dict[str, object] = {
            f"{here}.Passwords": {"hashes": hashes},
            f"{here}.Topics": {
                "namespace": settings.namespace,
                "apps": {user: settings.grants_of(app) for user, app in settings.app_users.items()},
            },
        }
    else:
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listener = {"type": "tcp", "bind": f"{settings.listen}:{settings.port}"}
    return {"listeners": {"default": listener}, "plugins": plugins}


class Passwords(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets in who has an account and its password."""

    @dataclass
    class Config:
        """The accounts' hashed passwords by name."""

        hashes: dict[str, str] = field(default_factory=dict)

    async def authenticate(self, *, session: Session) -> bool:
        """Whether this client may come in."""
        hashed = self.config.hashes.get(session.username or "")
        return hashed is not None and check_password(session.password or "", hashed)


class Topics(BaseTopicPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets each account use its own topics only."""

    @dataclass
    class Config:
        """The hub's namespace, and what each app may do, by user name and filter."""

        namespace: str = "default"
        apps: dict[str, dict[str, str]] = field(default_factory=dict)

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Whether this client may do this with the topic."""
        name = session.username if session is not None else None
        if not name or not topic:
            return False
        space = self.config.namespace
        grants = self.config.apps.get(name) or (hub_grants(space) if name == HUB else node_grants(space, name))
        right = "write" if action is Action.PUBLISH else "read"
        fits = covers if action is Action.SUBSCRIBE else matches
        return any(right in access and fits(pattern, topic) for pattern, access in grants.items())
