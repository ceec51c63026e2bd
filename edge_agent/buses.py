"""Which brokers an agent talks to: its hub's, and the device's own where other programs hand in samples."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from edge_agent.config import AgentSettings
from messages import channels
from messages.bus.protocol import Bus, Will
from messages.bus.settings import FILES, MqttSettings
from messages.settings.read import whole

MakeBus = Callable[[Callable[[], Will]], Bus]
"""Makes the bus to the hub; it is given the function that makes the last will of each connection."""

MakeAppsBus = Callable[[], Bus]


def to_hub(settings: AgentSettings, config_file: Path) -> MakeBus:
    """The bus that `[mqtt]` names. Raises ConfigError when one of its files is missing."""
    topics = [channels.downlink(settings.namespace, settings.node)]
    if settings.apps is not None and settings.apps.shared:
        topics.append(channels.IN.filter(settings.namespace, settings.node))
    return _maker(whole(settings.mqtt, FILES, "mqtt", config_file), settings.node, topics)


def to_apps(settings: AgentSettings, config_file: Path) -> MakeAppsBus | None:
    """The bus that `[apps]` names; None where apps have none of their own. Raises ConfigError."""
    own = settings.apps.mqtt if settings.apps is not None else None
    topics = [channels.IN.filter(settings.namespace, settings.node)]
    return None if own is None else _maker(whole(own, FILES, "apps", config_file), settings.node, topics)


def _maker(broker: MqttSettings, node: str, topics: Sequence[str]) -> Callable[..., Bus]:
    def make(will: Callable[[], Will] | None = None) -> Bus:
        from messages.bus.mqtt import MqttBus

        return MqttBus(broker, client_id=node, subscriptions=topics, will=will, random=Random())

    return make
