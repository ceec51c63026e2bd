"""`cloud-hub check-plugin`: does a big model of the user's own do what the hub expects? One line for each check."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from math import isclose
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from cloud_hub.config import InputSettings, load
from cloud_hub.workers import predictor
from cloud_hub.workers.predictor import Array, Predict, PredictorFailed
from messages.desk.findings import Finding, fail, ok, warn
from messages.desk.plug_ins import p50_ms
from messages.settings import ConfigError
from messages.shapes import Text, Value

SIZES: Final = (1, 3, 32)
NEAR: Final = 1e-3
"""Batches of other sizes add up in another order, so their answers may differ by so much."""


class Subject(NamedTuple):
    """A predictor's name, its model file ("" for none), and what one sample looks like."""

    name: str
    model: str = ""
    input: InputSettings | None = None


def input_of(text: str) -> InputSettings:
    """What one sample looks like, from text like `float32:8,8`. Raises ValueError."""
    dtype, _, sizes = text.partition(":")
    return InputSettings(dtype=dtype, shape=tuple(int(size) for size in sizes.split(",") if size))


def examine(subject: Subject, file: Path | None = None) -> list[Finding]:
    """All findings. `file` is a hub.toml that names the predictor: it tells what the subject leaves open."""
    sys.path.append(str((file or Path("hub.toml")).resolve().parent))
    try:
        subject = _completed(subject, file) if file else subject
    except ConfigError as error:
        return [fail("config", str(error), "correct the config, or leave --config out")]
    try:
        predict = predictor.load(subject.name, subject.model)
    except PredictorFailed as error:
        return [fail("load", str(error), "run this in the module's folder or give --config; see configs/hub.toml")]
    found = [ok("load"), _signature(predict)]
    if found[-1].problem:
        return found
    if subject.input is None:
        cure = "set jobs.NAME.input in the config, or give --input, like float32:8,8"
        return [*found, fail("input", "nobody says what a sample looks like", cure)]
    try:
        found += _battery(predict, _samples(subject.input))
    except PredictorFailed as error:  # `+=` has kept what was found before
        found.append(fail("called again", str(error), "never raise, however often it is called"))
    return found


def _completed(subject: Subject, file: Path) -> Subject:
    for job in load(file).jobs.values():
        if job.predictor == subject.name:
            return Subject(subject.name, subject.model or job.model, subject.input or job.input)
    raise ConfigError(f"no job of {file} names {subject.name!r} as its predictor")


def _signature(predict: Predict) -> Finding:
    if inspect.iscoroutinefunction(predict):
        return fail("signature", "predict is async, and would never be awaited", "make it a plain function")
    try:
        inspect.signature(predict).bind(None)
    except TypeError as error:
        return fail("signature", f"predict: {error}", "let predict take one argument, a batch (N, ...)")
    except ValueError:  # written in C: the calls will tell
        pass
    return ok("signature")


def _samples(spec: InputSettings) -> Array:
    """A batch of random samples. Random bytes are printable, so that those which are text can be read."""
    random, shape = np.random.default_rng(1), (max(SIZES), *spec.shape)
    low, high = (32, 127) if spec.dtype in ("uint8", "int8") else (0, 2)
    numbers = random.random(shape) if spec.dtype.startswith("float") else random.integers(low, high, shape)
    return np.asarray(numbers).astype(spec.dtype)


def _battery(predict: Predict, samples: Array) -> Iterator[Finding]:
    batches: dict[int, list[Value]] = {}
    for size in SIZES:
        try:
            batches[size] = _answers(predict, samples[:size])
        except PredictorFailed as error:
            cure = "give class probabilities (N, classes) that sum to one, or a list of N values, and never raise"
            yield fail(f"a batch of {size}", str(error), cure)
            continue
        yield ok(f"a batch of {size}", type(batches[size][0]).__name__)
    if len(batches) == len(SIZES):
        yield from _habits(predict, samples, batches)


def _habits(predict: Predict, samples: Array, batches: dict[int, list[Value]]) -> Iterator[Finding]:
    """Whether an answer depends on nothing but its sample."""
    whole = batches[max(SIZES)]
    cure = "answer each row by itself: evaluation mode, no statistics over the batch"
    apart = any(not _alike(whole[:size], batches[size]) for size in SIZES)
    yield fail("batch size", "answers depend on how many samples come together", cure) if apart else ok("batch size")
    moved = _answers(predict, samples[::-1].copy())[::-1]
    yield ok("order") if _alike(whole, moved) else fail("order", "answers depend on the order of the samples", cure)
    again, chance = _answers(predict, samples), "leave chance out: no dropout, a fixed seed"
    same = _alike(whole, again)
    yield ok("the same twice") if same else warn("the same twice", "other answers for the same batch", chance)
    times = [
        f"{p50_ms(partial(predictor.outputs, predict, samples[:size])):.3f} ms for {size}" for size in (1, max(SIZES))
    ]
    yield ok("time", f"p50 {', '.join(times)}")


def _answers(predict: Predict, batch: Array) -> list[Value]:
    """Raises PredictorFailed."""
    return [predictor.value(output) for output in predictor.outputs(predict, batch)]


def _alike(some: Sequence[Value], others: Sequence[Value]) -> bool:
    return all(map(_same, some, others))


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, Text) and isinstance(other, Text) and one.text != other.text:
        return False
    numbers, others = predictor.numbers(one), predictor.numbers(other)
    near = all(isclose(a, b, rel_tol=NEAR, abs_tol=NEAR) for a, b in zip(numbers, others, strict=False))
    return type(one) is type(other) and len(numbers) == len(others) and near
