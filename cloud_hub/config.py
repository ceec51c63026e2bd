"""hub.toml as frozen structs: the broker, HTTP, limits, and the jobs with their big models."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from cloud_hub.broker.settings import BrokerSettings, loopback
from cloud_hub.ingest.exchange import HubOptions
from cloud_hub.ingest.inference import JobSpec
from cloud_hub.jobs.joint_inference import Spec
from cloud_hub.jobs.recalibration import Spec as Recalibration
from messages.blobs.settings import BlobSettings
from messages.bus.settings import FILES, TLS_FILES, MqttSettings
from messages.channels import BadTopic, checked
from messages.codec import Format
from messages.delivery.bounds import Caps
from messages.delivery.rows import Kind
from messages.delivery.sender import Pace
from messages.settings.read import ConfigError, Count, Seconds, beside, readable, whole
from messages.settings.read import load as read
from messages.tensors import DTYPES

DAY_S = 86_400.0


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where /healthz and /metrics are served; port 0 serves neither.

    With `token_file` a caller must send its content as a bearer token; without one only this machine is served.
    Raises ValueError naming the field.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    token_file: str = ""

    def __post_init__(self) -> None:
        if not self.token_file and not loopback(self.host):
            raise ValueError(f"host {self.host!r}: other machines can reach it, so it needs a token_file")


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be kept and what may be in flight (0: no bound).

    `rows` and `bytes` bound the samples of each job: answered ones make room, unanswered ones are never dropped.
    Answered samples older than `age_s` go. Nothing is stored while less than `disk_reserve` bytes are free. One node
    may have `credit` messages in flight, all nodes together `budget`. `answers` bounds what waits for nodes.
    """

    rows: int = 1_000_000
    bytes: int = 8 << 30
    age_s: float = 90 * DAY_S
    disk_reserve: int = 256 << 20
    quarantine_rows: int = 1_000
    dead_rows: int = 10_000
    credit: Annotated[int, Meta(ge=4)] = 256
    budget: Annotated[int, Meta(ge=4)] = 8_192
    retry_s: Seconds = 10.0
    answers: Caps = Caps(rows=1_000_000, bytes=1 << 30)


class InputSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one sample must look like: the NumPy dtype and the shape, without a batch dimension."""

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r}: use one of {', '.join(DTYPES)}")
        if any(size < 1 for size in self.shape):
            raise ValueError(f"shape {list(self.shape)}: every size is at least 1")


class JobSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job: the big model that answers its hard samples.

    `predictor` is a factory "module:name", called with the path of the `model` file in each of `workers` processes. A
    sample waits at most `batch_wait_ms` for company while a worker has nothing to do; while all are busy, batches grow
    by themselves. A batch that takes longer than `timeout_s` ends its process. A job without a predictor only collects
    samples. `recalibrate` says after how many new audits or labels the offload policy is fitted again: by itself never.
    """

    kind: Literal["joint_inference"] = "joint_inference"
    predictor: str = ""
    model: str = ""
    input: InputSettings | None = None
    batch_size: Count = 32
    batch_wait_ms: Annotated[float, Meta(ge=0.0)] = 0.0
    workers: Count = 1
    timeout_s: Seconds = 60.0
    load_timeout_s: Seconds = 300.0
    recalibrate: Recalibration | None = None

    def __post_init__(self) -> None:
        if self.predictor and not all(self.predictor.partition(":")):
            raise ValueError(f'predictor {self.predictor!r}: write it as "module:name"')
        if self.model and not self.predictor:
            raise ValueError("model: a model needs a predictor that runs it")


class HubSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """hub.toml. Paths are relative to the file's folder. With `mqtt` the hub uses that broker, else it runs its own."""

    namespace: str = "default"
    data_dir: str = "data"
    payload: Format = Format.MSGPACK
    mqtt: MqttSettings | None = None
    broker: BrokerSettings = BrokerSettings()
    http: HttpSettings = HttpSettings()
    limits: Limits = Limits()
    pace: Pace = Pace(window=256)
    blobs: BlobSettings = BlobSettings()
    jobs: dict[str, JobSettings] = {}


def load(path: Path) -> HubSettings:
    """Read and check a config file, and make its paths whole. Raises ConfigError."""
    settings = read(path, HubSettings)
    _check(settings)
    return _whole(settings, path)


def options(settings: HubSettings) -> HubOptions:
    """What the core wants to know."""
    limits = settings.limits
    return HubOptions(
        namespace=settings.namespace, form=settings.payload, pace=settings.pace, credit=limits.credit,
        budget=limits.budget, retry_s=limits.retry_s, caps={Kind.ANSWER: limits.answers},
    )  # fmt: skip


def job_specs(settings: HubSettings) -> dict[str, JobSpec]:
    """What the core wants to know of each job."""
    limits = settings.limits
    return {
        name: JobSpec(
            batch=Spec(batch_size=job.batch_size, batch_wait_s=job.batch_wait_ms / 1000.0),
            dtype=job.input.dtype if job.input else "", shape=job.input.shape if job.input else None,
            max_rows=limits.rows, max_bytes=limits.bytes, retry_s=limits.retry_s,
        )
        for name, job in settings.jobs.items()
    }  # fmt: skip


def _check(settings: HubSettings) -> None:
    try:
        checked(settings.namespace, "namespace")
        for name in settings.jobs:
            checked(name, "job")
    except BadTopic as error:
        raise ConfigError(str(error)) from error
    if settings.broker.namespace not in ("default", settings.namespace):
        raise ConfigError(f"broker.namespace is {settings.broker.namespace!r}, namespace {settings.namespace!r}")


def _whole(settings: HubSettings, file: Path) -> HubSettings:
    """The same settings with absolute paths; every file that is named must be there."""
    broker = whole(settings.broker, TLS_FILES, "broker", file)
    accounts = {name: readable(path, f"broker.accounts.{name}", file) for name, path in broker.accounts.items()}
    apps = {name: whole(app, ("password_file",), f"broker.apps.{name}", file) for name, app in broker.apps.items()}
    mqtt = settings.mqtt and whole(settings.mqtt, FILES, "mqtt", file)
    jobs = {name: whole(job, ("model",), f"jobs.{name}", file) for name, job in settings.jobs.items()}
    return structs.replace(
        settings, mqtt=mqtt, jobs=jobs, data_dir=str(beside(file, settings.data_dir)),
        broker=structs.replace(broker, accounts=accounts, apps=apps, namespace=settings.namespace),
        http=whole(settings.http, ("token_file",), "http", file),
        blobs=whole(settings.blobs, ("ca_file",), "blobs", file),
    )  # fmt: skip
