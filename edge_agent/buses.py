"""Which brokers an agent talks to: its hub's, and the device's own where other programs hand in samples."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from edge_agent import config
from edge_agent.config import AgentSettings
from messages import channels
from messages.bus.protocol import Bus, Will

MakeBus = Callable[[Callable[[], Will]], Bus]
"""Makes the bus to the hub; it is given the function that makes the last will of each connection."""

MakeAppsBus = Callable[[], Bus]


def to_hub(settings: AgentSettings, config_file: Path) -> MakeBus:
    """The bus that `[mqtt]` names. Raises ConfigError when one of its files is missing."""
    broker = config.beside_config(settings.mqtt, config_file)
    topics = [channels.downlink(settings.namespace, settings.node)]
    if settings.apps is not None and settings.apps.shared:
        topics.append(channels.IN.filter(settings.namespace, settings.node))

    def make(will: Callable[[], Will]) -> Bus:
        from messages.bus.mqtt import MqttBus

        return MqttBus(broker, client_id=settings.node, subscriptions=topics, will=will, random=Random())

    return make


def to_apps(settings: AgentSettings, config_file: Path) -> MakeAppsBus | None:
    """The bus that `[apps]` names; None where apps have none of their own. Raises ConfigError."""
    own = settings.apps.mqtt if settings.apps is not None else None
    if own is None:
        return None
    broker = config.beside_config(own, config_file, "apps")
    topics = [channels.IN.filter(settings.namespace, settings.node)]

    def make() -> Bus:
        from messages.bus.mqtt import MqttBus

        return MqttBus(broker, client_id=settings.node, subscriptions=topics, will=None, random=Random())

    return make
