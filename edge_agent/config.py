"""agent.toml as frozen structs: what may stand there, what it means, and what it is when it does not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from edge_agent.encoding import Encoding
from edge_agent.plugins import Spec
from edge_agent.sources.feed import Keep
from messages.blobs.settings import BlobSettings
from messages.bus.settings import MqttSettings
from messages.channels import BadTopic, checked
from messages.codec import Format
from messages.delivery.bounds import Caps
from messages.delivery.rows import Kind
from messages.delivery.sender import Pace
from messages.encodings import Name
from messages.settings.read import ConfigError, beside, whole
from messages.settings.read import load as read
from messages.signing import BadKey, PublicKey, public_key

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

    `model` is a file; `engine` is "torch" or a plug-in that runs it (without one the file's suffix decides).
    `source`, `engine` and `policy` are a name or a table of `use` and options: one that comes with the agent, or a
    plug-in. A job without `source` is fed by a script's `infer`. `sink` is a function that is called with every
    Prediction. A source that gives nothing for `silence_s` is named in the log (0: never); `keep` is "newest"
    unless the source knows better. With `order = "mining-then-inference"` the policy sees the sample before the
    edge model does, and a hard one is given to the edge model only when the hub is away or has not answered after
    `deadline_s`. `encoding` is what travels of a sample.
    """

    model: str = ""
    engine: Spec = ""
    source: Spec = ""
    sink: str = ""
    policy: Spec = "cross_entropy"
    order: Literal["inference-then-mining", "mining-then-inference"] = "inference-then-mining"
    deadline_s: Annotated[float, Meta(ge=0.0)] = 1.0
    encoding: Name | Encoding = ""
    keep: Keep | None = None
    restart: Literal["never", "on-failure", "always"] = "on-failure"
    silence_s: Annotated[float, Meta(ge=0.0)] = 60.0


class AppsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the device's other programs hand in samples and hear predictions.

    `broker` is the URL of the device's own broker, or "hub" for the hub's, where the hub must let them in by name. At
    most `credit` readings of a job may wait for their answers. Raises ValueError naming the field.
    """

    broker: str
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    credit: Annotated[int, Meta(ge=1, le=10_000)] = 64

    def __post_init__(self) -> None:
        try:
            self.mqtt  # noqa: B018  # made to be checked
        except ValueError as error:
            raise ValueError(str(error).replace("url", "broker", 1)) from None
        if self.shared and (self.username or self.password_file or self.ca_file):
            raise ValueError('broker = "hub": username, password_file and ca_file stand in [mqtt]')

    @property
    def shared(self) -> bool:
        """Whether the apps come in over the hub's broker."""
        return self.broker == "hub"

    @property
    def mqtt(self) -> MqttSettings | None:
        """The device's own broker; None for the hub's."""
        if self.shared:
            return None
        return MqttSettings(
            url=self.broker, username=self.username, password_file=self.password_file, ca_file=self.ca_file,
            protocol=self.protocol, receive_maximum=self.credit, retry_last_s=10.0,
        )  # fmt: skip


class TrustSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may say what this node runs: public keys as `cloud-hub keys` prints them, here or a line each in a file.

    A hub whose release key a root vouches for is known by its root: then nothing is to be changed here when the hub's
    key is another one day.
    """

    root: tuple[str, ...] = ()
    root_file: str = ""
    keys: tuple[str, ...] = ()
    keys_file: str = ""

    def __post_init__(self) -> None:
        if (self.root or self.root_file) and (self.keys or self.keys_file):
            raise ValueError("root: with a root the release keys come from the hub: leave keys and keys_file out")


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """agent.toml. Paths are relative to the file's folder. `beat_s` is the time between two heartbeats."""

    node: str
    mqtt: MqttSettings
    namespace: str = "default"
    data_dir: str = "data"
    payload: Format = Format.MSGPACK
    beat_s: Annotated[float, Meta(ge=0.1)] = 30.0
    outbox: OutboxSettings = OutboxSettings()
    pace: Pace = Pace()
    apps: AppsSettings | None = None
    trust: TrustSettings = TrustSettings()
    blobs: BlobSettings = BlobSettings()
    jobs: dict[str, JobSettings] = {}


def check(settings: AgentSettings) -> None:
    """What types cannot say. Raises ConfigError."""
    try:
        checked(settings.node, "node")
        checked(settings.namespace, "namespace")
        for name in settings.jobs:
            checked(name, "job")
    except BadTopic as error:
        raise ConfigError(str(error)) from error
    for name, job in settings.jobs.items():
        if not job.model and not job.engine:
            raise ConfigError(f"jobs.{name}: name a model file (model) or an engine plug-in (engine)")


def load(path: Path) -> AgentSettings:
    """Read and check a config file. Raises ConfigError."""
    settings = read(path, AgentSettings)
    check(settings)
    trusted(settings, path)
    roots(settings, path)
    return structs.replace(settings, blobs=whole(settings.blobs, ("ca_file",), "blobs", path))


def trusted(settings: AgentSettings, config_file: Path) -> tuple[PublicKey, ...]:
    """The release keys that count where no root is trusted. Raises ConfigError."""
    return _keys("keys", settings.trust.keys, settings.trust.keys_file, config_file)


def roots(settings: AgentSettings, config_file: Path) -> tuple[PublicKey, ...]:
    """The root keys, whose key lists say which release keys count. Raises ConfigError."""
    return _keys("root", settings.trust.root, settings.trust.root_file, config_file)


def _keys(field: str, texts: Sequence[str], file_name: str, config_file: Path) -> tuple[PublicKey, ...]:
    lines = [(f"trust.{field}[{number}]", text) for number, text in enumerate(texts)]
    if file_name:
        file = beside(config_file, file_name)
        try:
            found = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"trust.{field}_file: {file} cannot be read: {error}") from error
        lines += [(f"{file}:{n}", text) for n, text in enumerate(found, 1) if text.strip() and text[0] != "#"]
    try:
        return tuple(public_key(text, place) for place, text in lines)
    except BadKey as error:
        raise ConfigError(str(error)) from error
