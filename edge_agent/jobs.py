"""One job at run time: its engine, its policy, and where its predictions go."""

import logging
from asyncio import get_running_loop
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_agent import plugins
from edge_agent.config import JobSettings
from edge_agent.encoding import INLINE_S, Encoder, Encoding
from edge_agent.engines import load
from edge_agent.engines.protocol import Engine, ModelError, TensorSpec
from edge_agent.offload_settings import OFFLOAD, configured
from edge_agent.policies.limits import Moment
from edge_agent.policies.rules import BLIND, RULES, SEDNA, Decision, Policy
from edge_agent.sources import known
from edge_agent.sources.known import Source
from edge_agent.values import as_value
from messages.offload.shapes import Network, OffloadPolicy
from messages.settings.read import ConfigError, beside
from messages.shapes import Classes, Prediction, Tensor, Value
from messages.tensors import DTYPES

if TYPE_CHECKING:
    import numpy as np

    from edge_agent.policies.offload import Offload

ENVELOPE_BYTES = 300
"""About what a sample's message has beside the sample itself."""

_log = logging.getLogger("edge_agent")

NOT_RUN = Classes(probs=())
"""What stands for the edge model's result where it was not asked."""


class SampleError(ValueError):
    """A sample is not what the job's engine takes. The text names the job, expected and got."""


class Parts(NamedTuple):
    """What a job is made of: its config's names, found."""

    engine: Engine
    policy: "Callable[[Any], Decision] | Offload"
    encoder: Encoder
    source: Source | None = None
    sink: Callable[[Prediction], object] | None = None


class Job:
    """Judges samples one at a time, in the event loop or (a slow engine) in a thread of the job's own."""

    def __init__(self, name: str, settings: JobSettings, parts: Parts) -> None:
        import numpy as np

        self.name = name
        self.engine = parts.engine
        self.settings = settings
        self.source = parts.source
        self.mines_first = settings.order == "mining-then-inference"
        self.hub_is_late = False
        self._classes: int | None = None
        self.offload: Offload | None = None if callable(parts.policy) else parts.policy
        self._policy = parts.policy
        self._encoder = parts.encoder
        self._sink = parts.sink
        self._array = np.ndarray
        self._dtype = np.dtype(parts.engine.input.dtype)
        self._shape = parts.engine.input.shape
        self._size = float(np.zeros(self._shape, self._dtype).nbytes)
        self._lock = Lock()
        self._quickest = float("inf")
        self._pool = ThreadPoolExecutor(1, f"engine {name}")

    async def judge(
        self, x: "np.ndarray[Any, Any]", moment: Callable[[int], Moment] = Moment.of
    ) -> tuple[Value, Decision]:
        """What the edge model and the policy say of one sample. Raises SampleError, PluginFailed.

        `moment` says how the link is, for a sample of so many bytes. Where mining comes first, the edge model has not
        run on a hard sample: its value is NOT_RUN.
        """
        if type(x) is not self._array or x.dtype != self._dtype or x.shape != self._shape:
            raise SampleError(f"job {self.name}: takes {self.engine.input}, got {described(x)}")
        if not self.mines_first:
            value = await self.predict(x)
            return value, self._decide(value) if self.offload is None else self._weigh(value, x, moment)
        decision = self._decide(x)
        return NOT_RUN if decision.offload else await self.predict(x), decision

    async def predict(self, x: "np.ndarray[Any, Any]") -> Value:
        """What the edge model says of one sample. Raises SampleError, PluginFailed."""
        if self._quickest <= INLINE_S:
            return self._predict(x)
        return await get_running_loop().run_in_executor(self._pool, self._predict, x)

    async def encode(self, x: "np.ndarray[Any, Any]") -> Tensor | None:
        """A sample as it travels; None when it is too large for a message."""
        tensor = await self._encoder.write(x, self._pool)
        if tensor is not None:
            self._size += 0.1 * (tensor.size - self._size)
        return tensor

    @property
    def takes_policies(self) -> bool:
        """Whether the hub may give it a policy."""
        return self.offload is not None

    def objection(self, policy: OffloadPolicy) -> str:
        """Why it cannot adopt a policy of the hub; empty when it can."""
        if self.offload is None:
            name = self.settings.policy if isinstance(self.settings.policy, str) else self.settings.policy.get("use")
            return f'its policy is {name!r}; use policy = "{OFFLOAD}" to take one from the hub'
        network = policy.score if isinstance(policy.score, Network) else None
        if policy.model != self.engine.digest and (policy.model or network or policy.gate):
            return f"it is for model {policy.model[:12] or 'unknown'}, and this is {self.engine.digest[:12]}"
        if network is not None and self._classes not in (None, network.classes):
            return f"it is for {network.classes} classes, and the model has {self._classes}"
        if policy.pool is not None and policy.pool.shape != self._shape:
            return f"it is for samples of shape {list(policy.pool.shape)}, and this job takes {self.engine.input}"
        return self.offload.objection(policy)

    def adopt(self, policy: OffloadPolicy) -> str:
        """Use a policy of the hub from now on. Returns why not; then the old one stays."""
        problem = self.objection(policy)
        if problem or self.offload is None:
            _log.warning("job %s: policy %d of the hub is refused: %s", self.name, policy.version, problem)
            return problem
        self.offload.adopt(policy)
        _log.info("job %s: policy %d of the hub is in force", self.name, policy.version)
        self._tell()
        return ""

    def deliver(self, prediction: Prediction) -> None:
        """Hand a prediction to the job's sink. Raises PluginFailed."""
        if self._sink is not None:
            plugins.call(self.settings.sink, self._sink, prediction)

    def close(self) -> None:
        """Let the engine's thread go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decide(self, subject: "Value | np.ndarray[Any, Any]") -> Decision:
        assert callable(self._policy), "asked before"
        decision = plugins.call(f"job {self.name}: policy", self._policy, subject)
        if type(decision) is not Decision or not isfinite(decision.rank):
            raise SampleError(f"job {self.name}: policy: {decision!r:.100} is no Decision with a finite rank")
        return decision

    def _weigh(self, value: Value, x: "np.ndarray[Any, Any]", moment: Callable[[int], Moment]) -> Decision:
        assert self.offload is not None, "asked before"
        decision = self.offload.decide(value, x, moment(round(self._size) + ENVELOPE_BYTES))
        self._tell()
        return decision

    def _tell(self) -> None:
        """Log what the policy has to say."""
        for line in self.offload.take_news() if self.offload is not None else ():
            _log.warning("job %s: %s", self.name, line)

    def _predict(self, x: "np.ndarray[Any, Any]") -> Value:
        with self._lock:
            began = perf_counter()
            output = plugins.call(f"job {self.name}: engine", self.engine.predict, x)
            self._quickest = min(self._quickest, perf_counter() - began)
        try:
            value = as_value(output)
            if self._classes is None and type(value) is Classes:
                self._classes = len(value.probs)
            return value
        except (ValueError, TypeError) as error:
            raise SampleError(f"job {self.name}: engine: {error}") from error


def build(name: str, settings: JobSettings, config_file: Path) -> Job:
    """Load a job's model and find its plug-ins. Raises ConfigError with one line that names what is wrong."""
    field = f"jobs.{name}"
    try:
        engine = _engine(settings, config_file, field)
        encoder = _encoder(name, engine, settings)
        policy = _policy(settings, f"{field}.policy")
        source = _source(settings, config_file, f"{field}.source", engine.input) if settings.source else None
        sink = plugins.find(settings.sink, f"{field}.sink") if settings.sink else None
    except (plugins.PluginError, ModelError) as error:
        text = str(error)
        raise ConfigError(text if text.startswith(field) else f"{field}: {text}") from error
    return Job(name, settings, Parts(engine, policy, encoder, source, sink))


def _engine(settings: JobSettings, config_file: Path, field: str) -> Engine:
    model = beside(config_file, settings.model) if settings.model else None
    if settings.engine:
        return load.from_plugin(settings.engine, model, f"{field}.engine")
    assert model is not None, "config.check asks for one of the two"
    return load.for_file(model)


def _policy(settings: JobSettings, field: str) -> "Callable[[Any], Decision] | Offload":
    name, options = plugins.split(settings.policy, field)
    if name == OFFLOAD and settings.order == "inference-then-mining":
        return configured(options, field)
    if ":" in name:
        made = plugins.make(name, options, field)
        if not callable(made):
            raise plugins.PluginError(f"{field}: {name} returned {type(made).__name__}, not a rule to call")
        return made  # type: ignore[no-any-return]  # a plug-in's rule, callable as was just asked
    name = SEDNA.get(name, name)
    if name not in (*RULES, OFFLOAD):
        raise plugins.PluginError(f'{field} = {name!r}: use {", ".join((*RULES, OFFLOAD))} or "module:name"')
    if settings.order == "mining-then-inference" and name not in BLIND:
        raise plugins.PluginError(
            f"{field} = {name!r}: judges the edge model's result, which is not there in {settings.order!r};"
            f' use {", ".join(BLIND)} or "module:name"'
        )
    rule: Policy = plugins.make(f"edge_agent.policies:{name}", options, field)
    return rule if settings.order == "inference-then-mining" else lambda _: rule(NOT_RUN)


def _source(settings: JobSettings, config_file: Path, field: str, takes: TensorSpec) -> Source:
    source = known.find(settings.source, field, takes, config_file.parent)
    return source._replace(keep=settings.keep or source.keep)


def _encoder(name: str, engine: Engine, settings: JobSettings) -> Encoder:
    if engine.input.dtype not in DTYPES:
        raise ModelError(f"the engine takes {engine.input.dtype!r}: not one of {', '.join(DTYPES)}")
    encoding = settings.encoding if isinstance(settings.encoding, Encoding) else Encoding(use=settings.encoding)
    encoder = Encoder(name, encoding, engine.input)
    if settings.policy not in ("edge_only", "EdgeOnly"):
        encoder.check()
    return encoder


def described(x: object) -> str:
    """A sample's dtype and shape, or the type of what is no array."""
    dtype, shape = getattr(x, "dtype", None), getattr(x, "shape", None)
    if dtype is None or shape is None:
        return type(x).__name__
    return str(TensorSpec(str(dtype), tuple(shape)))
