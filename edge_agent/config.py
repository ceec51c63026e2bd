"""agent.toml as frozen structs: what may stand there, what it means, and what it is when it does not."""

import os
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from edge_agent.plugins import Spec
from edge_agent.sources.feed import Keep
from messages.bus.settings import MqttSettings
from messages.channels import BadTopic, checked
from messages.codec import Format
from messages.delivery.bounds import Caps
from messages.delivery.rows import Kind
from messages.delivery.sender import Pace
from messages.settings import SettingsError, beside
from messages.settings import load as read

WEEK_S = 7 * 86_400.0


class OutboxSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may wait for the hub, by kind (0: no bound), and whether own samples survive a power cut.

    `sync = "normal"` may lose the last seconds of samples in a power cut, never in a kill; "full" loses none and
    costs a disk flush for each hard sample.
    """

    sample: Caps = Caps(rows=20_000, bytes=256 << 20, age_s=WEEK_S)
    audit: Caps = Caps(rows=2_000, bytes=32 << 20, age_s=WEEK_S)
    report: Caps = Caps(rows=1_000)
    sync: Literal["normal", "full"] = "normal"

    @property
    def caps(self) -> dict[Kind, Caps]:
        """As the core wants them."""
        return {Kind.SAMPLE: self.sample, Kind.AUDIT: self.audit, Kind.REPORT: self.report}


class JobSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job: where samples come from, the model, and which samples are hard.

    `model` is a file; `engine` is a plug-in that runs it (without one the file's suffix decides). `source`, `engine`
    and `policy` are a name or a table of `use` and options; a policy is one of the rules or a plug-in. A job without
    `source` is fed by a script's `infer`. `sink` is a function that is called with every Prediction.
    """

    model: str = ""
    engine: Spec = ""
    source: Spec = ""
    sink: str = ""
    policy: Spec = "cross_entropy"
    keep: Keep = "newest"
    restart: Literal["never", "on-failure", "always"] = "on-failure"


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """agent.toml. Paths are relative to the file's folder. `beat_s` is the time between two heartbeats."""

    node: str
    mqtt: MqttSettings
    namespace: str = "default"
    data_dir: str = "data"
    payload: Format = Format.MSGPACK
    beat_s: float = 30.0
    outbox: OutboxSettings = OutboxSettings()
    pace: Pace = Pace()
    jobs: dict[str, JobSettings] = {}


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line that names the field."""


def check(settings: AgentSettings) -> None:
    """What types cannot say. Raises ConfigError."""
    try:
        checked(settings.node, "node")
        checked(settings.namespace, "namespace")
        for name in settings.jobs:
            checked(name, "job")
    except BadTopic as error:
        raise ConfigError(str(error)) from error
    if not settings.beat_s >= 0.1:
        raise ConfigError(f"beat_s is {settings.beat_s}: at least 0.1 s")
    for name, job in settings.jobs.items():
        if not job.model and not job.engine:
            raise ConfigError(f"jobs.{name}: name a model file (model) or an engine plug-in (engine)")


def load(path: Path) -> AgentSettings:
    """Read and check a config file. Raises ConfigError."""
    try:
        settings = read(path, AgentSettings)
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    check(settings)
    return settings


def beside_config(mqtt: MqttSettings, config_file: Path) -> MqttSettings:
    """The settings with the paths of their files made whole. Raises ConfigError when a file cannot be read."""
    files = {name: getattr(mqtt, name) for name in ("password_file", "ca_file", "cert_file", "key_file")}
    found = {name: beside(config_file, path) for name, path in files.items() if path}
    for name, path in found.items():
        if not os.access(path, os.R_OK):
            raise ConfigError(f"mqtt.{name}: {path} is not there, or may not be read")
    return structs.replace(mqtt, **{name: str(path) for name, path in found.items()})
