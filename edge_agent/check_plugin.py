"""`edge-agent check-plugin`: does a function or class of the user's own do what the agent expects? One line a check.

It is really called: a source is opened, a sink gets three made-up predictions.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import structs

from edge_agent import check_source, config, jobs, plugins
from edge_agent.config import JobSettings
from edge_agent.engines import load
from edge_agent.engines.protocol import Engine, ModelError, TensorSpec
from edge_agent.plugins import PluginError, PluginFailed
from edge_agent.policies.rules import INVALID, Decision, threshold
from edge_agent.values import as_value
from messages.desk.findings import Finding, fail, ok, warn
from messages.desk.plug_ins import battery, p50_ms, random_numbers, same_twice, takes_one
from messages.settings.read import ConfigError, beside
from messages.shapes import Box, Boxes, Classes, Embedding, Prediction, Scalar, Text, Value
from messages.tensors import DTYPES

KINDS: Final = ("source", "policy", "engine", "sink")

LOOP_MS: Final = 10.0
"""A policy or a sink runs in the event loop, where all else waits for it."""

RESULTS: Final[dict[str, Value]] = {
    "an even result": Classes(probs=(0.5, 0.5)),
    "p = 0": Classes(probs=(0.0, 1.0)),
    "one class": Classes(probs=(1.0,)),
    "no class": Classes(probs=()),
    "NaN": Classes(probs=(nan, nan)),
    "no boxes": Boxes(boxes=()),
    "boxes": Boxes(boxes=(Box(corners=(0.0, 0.0, 1.0, 1.0), score=0.5), Box(corners=(0.0, 0.0, 0.0, 0.0), score=nan))),
    "a number": Scalar(scalar=1.0),
    "text": Text(text="", confidence=0.0),
    "a vector": Embedding(vector=(0.5, -1.0)),
}
"""What a policy must bear: an edge model gives each of these one day."""

_ABOUT: Final[dict[str, Any]] = {"event_id": "check.1", "timestamp": 0, "job": "check", "sample_id": "check-1"}
_EVEN: Final = RESULTS["an even result"]
PREDICTIONS: Final = {
    "a provisional one": Prediction(**_ABOUT, value=_EVEN, provisional=True, origin="edge", reason="entropy"),
    "a final one": Prediction(**_ABOUT, value=_EVEN, provisional=False, origin="cloud"),
    "one without value": Prediction(
        **_ABOUT, value=None, provisional=False, origin="cloud", reason="there is no answer"
    ),
}


class Subject(NamedTuple):
    """A plug-in: its name, what it is to be, its options, and what its job's engine takes, where a job is known.

    A policy that is `blind` sees the sample and no result: its job mines before the edge model runs.
    """

    name: str
    kind: str
    options: dict[str, Any]
    takes: TensorSpec | None = None
    blind: bool = False


def examine(name: str, *, kind: str = "", file: Path | None = None) -> list[Finding]:
    """All findings. `file` is an agent.toml that names the plug-in, for its options; without `kind` it is guessed."""
    plugins.search_beside(file or Path("agent.toml"))
    try:
        subject = _in_config(name, kind, file) if file else Subject(name, kind, {})
        found = plugins.find(name, "plug-in")
    except ConfigError as error:
        return [fail("config", str(error), "correct the config, or leave --config out")]
    except PluginError as error:
        return [fail("import", str(error), "run this in the module's folder or give --config, and correct the module")]
    try:
        subject = subject._replace(kind=subject.kind or _guess(found, subject))
        if subject.kind != "sink":
            plugins.bind(name, subject.options, "plug-in")
    except (PluginError, PluginFailed) as error:
        return [ok("import"), fail("options", str(error), "give --config with a job that names the right options")]
    findings = [ok("import"), ok("kind", subject.kind)]
    try:
        findings += _BATTERIES[subject.kind](subject, found)
    except PluginFailed as error:  # `+=` has kept what was found before
        findings.append(fail("called again", str(error), "never raise, however often it is called"))
    return findings


def _in_config(name: str, kind: str, file: Path) -> Subject:
    for job_name, job in config.load(file).jobs.items():
        for field in [kind] if kind else KINDS:
            spec = getattr(job, field)
            if spec and plugins.split(spec, f"jobs.{job_name}.{field}")[0] == name:
                return _of_job(Subject(name, field, plugins.split(spec, field)[1]), job, file)
    raise ConfigError(f"no job of {file} names {name!r} as its {kind or ', '.join(KINDS)}")


def _of_job(subject: Subject, job: JobSettings, file: Path) -> Subject:
    if subject.kind == "engine":
        model = {"model": beside(file, job.model)} if job.model else {}
        return subject._replace(options={**subject.options, **model})
    alone = structs.replace(job, source="", policy="edge_only", sink="", order="inference-then-mining")
    takes = jobs.build("check", alone, file).engine.input
    return subject._replace(takes=takes, blind=job.order == "mining-then-inference")


def _guess(found: Callable[..., Any], subject: Subject) -> str:
    """What a plug-in seems to be. Raises PluginError, PluginFailed."""
    if inspect.isgeneratorfunction(found):
        return "source"
    needed = [item for item in _parameters(found) if item.default is item.empty and item.name not in subject.options]
    if [item.kind for item in needed] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] and needed[0].name != "model":
        return "sink"
    made = plugins.call(subject.name, plugins.bind(subject.name, subject.options, "plug-in"))
    if hasattr(made, "predict"):
        return "engine"
    return "policy" if callable(made) else "source"


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # written in C
        return []


def _engine(subject: Subject, _: Callable[..., Any]) -> Iterator[Finding]:
    try:
        engine = load.from_plugin({**subject.options, "use": subject.name}, None, "plug-in")
    except (PluginError, ModelError) as error:
        yield fail("engine", str(error), "see edge_agent/engines/protocol.py for what an engine has")
        return
    if engine.input.dtype not in DTYPES:
        yield fail("engine", f"takes {engine.input}", f"use one of {', '.join(DTYPES)}")
        return
    yield ok("engine", f"takes {engine.input}")
    samples = _samples(engine.input)
    yield from battery(
        takes_one(engine.predict, "predict"),
        (_predicts(engine, what, x) for what, x in samples.items()),
        lambda: _engine_habits(engine, samples["random numbers"]),
    )


def _samples(takes: TensorSpec) -> dict[str, "np.ndarray[Any, Any]"]:
    zeros = np.zeros(takes.shape, takes.dtype)
    return {"zeros": zeros, "random numbers": random_numbers(takes.dtype, takes.shape)}


def _predicts(engine: Engine, what: str, x: "np.ndarray[Any, Any]") -> Finding:
    before = x.copy()
    try:
        value = as_value(plugins.call("predict", engine.predict, x))
    except (PluginFailed, ValueError, TypeError) as error:
        return fail(what, str(error), "return one row of class probabilities, a number or a Value, and never raise")
    if not np.array_equal(before, x):
        return fail(what, "predict changed its sample, which may yet be sent", "work on a copy: x.copy()")
    if not isinstance(value, Boxes) and threshold(0.0)(value) == INVALID:
        return fail(
            what, f"gave {value!r:.120}", "give probabilities that sum to one, and no NaN: no policy can use this"
        )
    return ok(what, f"{type(value).__name__}")


def _engine_habits(engine: Engine, x: "np.ndarray[Any, Any]") -> Iterator[Finding]:
    predict = partial(plugins.call, "predict", engine.predict, x)
    same, cure = repr(predict()) == repr(predict()), "leave chance out: no dropout, a fixed seed"
    yield same_twice(same, "another result for the same sample", cure)
    yield ok("time", f"p50 {p50_ms(predict):.3f} ms")


def _policy(subject: Subject, found: Callable[..., Any]) -> Iterator[Finding]:
    try:
        rule = plugins.call(subject.name, found, **subject.options)
    except PluginFailed as error:
        yield fail("rule", str(error), "correct it, or its options")
        return
    signature = takes_one(rule, "the rule") if callable(rule) else fail(
        "rule", f"returned {type(rule).__name__}, not a rule to call", "return a function of the edge model's result"
    )  # fmt: skip
    subjects: dict[str, Any] = _samples(subject.takes) if subject.blind and subject.takes else dict(RESULTS)
    decide = partial(plugins.call, "the rule", rule)
    cases = (_decides(decide, what, given) for what, given in subjects.items())
    yield from battery(signature, cases, lambda: _policy_habits(partial(decide, next(iter(subjects.values())))))


def _policy_habits(decide: Callable[[], object]) -> Iterator[Finding]:
    cure = "fine where it counts or draws lots; else leave that out"
    yield same_twice(decide() == decide(), "decides otherwise the second time", cure)
    yield _quick(decide)


def _decides(decide: Callable[[Any], Any], what: str, given: Any) -> Finding:
    try:
        decision = decide(given)
    except PluginFailed as error:
        return fail(what, str(error), "never raise: call hard what cannot be judged")
    if type(decision) is not Decision or type(decision.offload) is not bool or not isfinite(decision.rank):
        return fail(what, f"gave {decision!r:.100}", "return Decision(offload, reason, rank) with a finite rank")
    return ok(what, f"{'hard' if decision.offload else 'easy'}: {decision.reason}")


def _sink(subject: Subject, found: Callable[..., Any]) -> Iterator[Finding]:
    take = partial(plugins.call, subject.name, found)
    cases = (_shows(take, what, prediction) for what, prediction in PREDICTIONS.items())
    last = partial(take, PREDICTIONS["one without value"])
    yield from battery(takes_one(found, subject.name), cases, lambda: [_quick(last)])


def _shows(take: Callable[[Prediction], object], what: str, prediction: Prediction) -> Finding:
    try:
        take(prediction)
    except PluginFailed as error:
        return fail(what, str(error), "never raise: the agent tells a final prediction again until the sink takes it")
    return ok(what)


def _quick(call: Callable[[], object]) -> Finding:
    took = p50_ms(call)
    said = f"p50 {took:.3f} ms"
    slow = f"{said}, and the agent stands still meanwhile"
    return (
        ok("time", said) if took <= LOOP_MS else warn("time", slow, "hand the work to a thread or a queue of your own")
    )


_BATTERIES: Final[dict[str, Callable[[Subject, Callable[..., Any]], Iterator[Finding]]]] = {
    "source": lambda subject, found: check_source.examine(
        subject.name, partial(found, **subject.options), subject.takes
    ),
    "policy": _policy,
    "engine": _engine,
    "sink": _sink,
}
