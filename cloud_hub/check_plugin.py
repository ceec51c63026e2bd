"""`cloud-hub check-plugin`: does a big model of the user's own do what the hub expects? One line for each check."""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from math import isclose
from pathlib import Path
from typing import Final, NamedTuple

from cloud_hub.config import InputSettings, load
from cloud_hub.workers import predictor
from cloud_hub.workers.predictor import Array, Predict, PredictorFailed
from messages.desk.findings import Finding, fail, ok
from messages.desk.plug_ins import battery, p50_ms, random_numbers, same_twice, takes_one
from messages.settings.read import ConfigError
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
    signature = takes_one(predict, "predict", "one argument, a batch (N, ...)")
    if subject.input is None:
        cure = "set jobs.NAME.input in the config, or give --input, like float32:8,8"
        return [ok("load"), signature, fail("input", "nobody says what a sample looks like", cure)]
    samples = random_numbers(subject.input.dtype, (max(SIZES), *subject.input.shape))
    batches: dict[int, list[Value]] = {}
    found = [ok("load")]
    try:
        found += battery(
            signature,
            (_answers_all(predict, samples[:size], batches) for size in SIZES),
            lambda: _habits(predict, samples, batches),
        )
    except PredictorFailed as error:  # `+=` has kept what was found before
        found.append(fail("called again", str(error), "never raise, however often it is called"))
    return found


def _completed(subject: Subject, file: Path) -> Subject:
    for job in load(file).jobs.values():
        if job.predictor == subject.name:
            return Subject(subject.name, subject.model or job.model, subject.input or job.input)
    raise ConfigError(f"no job of {file} names {subject.name!r} as its predictor")


def _answers_all(predict: Predict, batch: Array, batches: dict[int, list[Value]]) -> Finding:
    what = f"a batch of {len(batch)}"
    try:
        batches[len(batch)] = _answers(predict, batch)
    except PredictorFailed as error:
        cure = "give class probabilities (N, classes) that sum to one, or a list of N values, and never raise"
        return fail(what, str(error), cure)
    return ok(what, type(batches[len(batch)][0]).__name__)


def _habits(predict: Predict, samples: Array, batches: dict[int, list[Value]]) -> Iterator[Finding]:
    """Whether an answer depends on nothing but its sample."""
    whole = batches[max(SIZES)]
    cure = "answer each row by itself: evaluation mode, no statistics over the batch"
    apart = any(not _alike(whole[:size], batches[size]) for size in SIZES)
    yield fail("batch size", "answers depend on how many samples come together", cure) if apart else ok("batch size")
    moved = _answers(predict, samples[::-1].copy())[::-1]
    yield ok("order") if _alike(whole, moved) else fail("order", "answers depend on the order of the samples", cure)
    again, chance = _answers(predict, samples), "leave chance out: no dropout, a fixed seed"
    yield same_twice(_alike(whole, again), "other answers for the same batch", chance)
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
