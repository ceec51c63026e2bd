"""The user's big model: found by name, called with batches, its outputs checked before they become answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

import numpy as np

from cloud_hub.store.protocol import Verdict
from messages.codec import BadPayload
from messages.desk.plug_ins import described
from messages.shapes import Boxes, Classes, Embedding, Scalar, Tensor, Text, Value
from messages.tensors import unpack

T = TypeVar("T")
Array = np.ndarray[Any, Any]
Predict = Callable[[Array], Any]
"""Takes a batch (N, ...) and gives class probabilities (N, C), or a list of N values (Classes, Boxes, ...)."""


class PredictorFailed(Exception):
    """The user's code raised, or gave what is no answer. The text is one line."""


def load(name: str, model: str) -> Predict:
    """Make the predictor: `name` is a factory "module:name", called with the model's path. Raises PredictorFailed."""
    factory = _call(resolve_name, name)
    if not callable(factory):
        raise PredictorFailed(f"{name} is {type(factory).__name__}, not something to call")
    made = _call(factory, Path(model))
    predict = getattr(made, "predict", made)
    if not callable(predict):
        raise PredictorFailed(f"{name} made {type(made).__name__}, which is no function and has no predict")
    return predict  # type: ignore[no-any-return]  # callable, as was just asked


def answer(predict: Predict, samples: Sequence[tuple[int, Tensor]]) -> list[Verdict]:
    """One verdict for each (row, tensor). A bad sample spoils only its own: a batch that fails is tried one by one."""
    verdicts: list[Verdict] = []
    groups: dict[tuple[str, tuple[int, ...]], list[tuple[int, Array]]] = {}
    for row, tensor in samples:
        try:
            groups.setdefault((tensor.dtype, tensor.shape), []).append((row, unpack(tensor)))
        except BadPayload as error:
            verdicts.append(Verdict(row, None, str(error)))
    for group in groups.values():
        verdicts += _together(predict, group)
    return verdicts


def _together(predict: Predict, group: Sequence[tuple[int, Array]]) -> list[Verdict]:
    rows = [row for row, _ in group]
    if not group:
        return []
    try:
        found = outputs(predict, np.stack([x for _, x in group]))
    except PredictorFailed as error:
        if len(group) == 1:
            return [Verdict(rows[0], None, str(error))]
        return [verdict for item in group for verdict in _together(predict, [item])]
    return [_verdict(row, output) for row, output in zip(rows, found, strict=True)]


def outputs(predict: Predict, batch: Array) -> Sequence[Any]:
    """What the predictor gives for each sample of a batch, not yet looked at. Raises PredictorFailed."""
    found = _call(predict, batch)
    each = found if isinstance(found, list | tuple) else list(np.atleast_1d(_call(np.asarray, found)))
    if len(each) != len(batch):
        raise PredictorFailed(f"the predictor gave {len(each)} answers for {len(batch)} samples")
    return each


def _verdict(row: int, output: Any) -> Verdict:
    try:
        return Verdict(row, value(output))
    except PredictorFailed as error:
        return Verdict(row, None, str(error))


def value(output: Any) -> Value:
    """One sample's output as an answer. Raises PredictorFailed when it is none."""
    if isinstance(output, Boxes | Scalar | Text | Embedding):
        if not np.isfinite(numbers(output)).all():
            raise PredictorFailed("the predictor gave NaN or infinity")
        return output
    probs = _call(np.asarray, output.probs if isinstance(output, Classes) else output, "float64")
    if probs.ndim != 1 or not probs.size:
        raise PredictorFailed(
            f"the predictor gave shape {probs.shape} for a sample: use one probability for each class"
        )
    if not np.isfinite(probs).all():
        raise PredictorFailed("the predictor gave NaN or infinity")
    if probs.min() < -1e-6 or abs(float(probs.sum()) - 1.0) > 1e-2:
        raise PredictorFailed(f"the predictor gave no probabilities: their sum is {float(probs.sum()):.3g}")
    return Classes(probs=tuple(probs.tolist()))


def numbers(value: Value) -> list[float]:
    """All numbers of a value, in a fixed order."""
    match value:
        case Classes(probs=probs):
            return list(probs)
        case Boxes(boxes=boxes):
            return [number for box in boxes for number in (*box.corners, box.score, box.label)]
        case Scalar(scalar=scalar, confidence=confidence):
            return [scalar, confidence or 0.0]
        case Embedding(vector=vector, confidence=confidence):
            return [*vector, confidence or 0.0]
    return [value.confidence or 0.0]


def _call(function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except Exception as error:  # a user's code may raise anything: this is the hub's one place that expects it
        raise PredictorFailed(described(error)) from error
