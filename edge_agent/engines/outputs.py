"""From the file's tensors to a result: what its kind makes of them. NaN is passed on, so that the policy sees it."""

from collections.abc import Callable, Sequence
from math import exp, prod
from typing import Any, Final

import numpy as np

from edge_agent.engines import boxes
from edge_agent.engines.inputs import agree
from edge_agent.engines.numpy_engine import softmax
from messages.models import Classification, Detection, Embedding, FileTensor, Output, Quantised, Regression
from messages.shapes import Classes, Scalar, Value
from messages.shapes import Embedding as Vector

Array = np.ndarray[Any, Any]
Tensors = Sequence[Array]
Read = Callable[[Tensors], "Array | Value"]


FEW: Final = 64
"""So many numbers are worked on faster one by one than by NumPy."""


def reader(gives: Output, tensors: Sequence[FileTensor], sample: tuple[int, ...]) -> Read:
    """The function that makes a result of what the file gives for a sample of this shape.

    Raises ValueError when the file does not give what the description says.
    """
    for number, (said, found) in enumerate(zip(gives.tensors, tensors, strict=False)):
        agree(said, found, f"output {number}")
    if gives.tensors and len(gives.tensors) != len(tensors):
        raise ValueError(f"the description says {len(gives.tensors)} outputs, the file has {len(tensors)}")
    match gives:
        case Classification():
            return _classes(gives, _one(tensors, gives.tensor))
        case Regression():
            return _number(gives, _one(tensors, gives.tensor))
        case Embedding():
            return _vector(gives, _one(tensors, gives.tensor))
        case Detection():
            return _boxes(gives, tensors, sample)


def real(quantised: Quantised | None) -> Callable[[Array], Array]:
    """The function that makes float32 of a tensor's numbers."""
    if quantised is None:
        return lambda y: y if y.dtype == np.float32 else y.astype(np.float32)
    scale, zero = np.float32(quantised.scale), np.float32(quantised.zero_point)
    return lambda y: (y.astype(np.float32) - zero) * scale


def _one(tensors: Sequence[FileTensor], index: int) -> FileTensor:
    if index >= len(tensors):
        raise ValueError(f"output {index}: the file has {len(tensors)}")
    if tensors[index].dtype not in ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64"):
        raise ValueError(f"output {index} is {tensors[index].dtype}: not numbers")
    return tensors[index]


def _width(tensor: FileTensor) -> int:
    """How many numbers a sample's tensor has; 0 where the file leaves it open."""
    sizes = tensor.shape[1:] or tensor.shape
    return prod(sizes) if all(size > 0 for size in sizes) else 0


def _classes(gives: Classification, tensor: FileTensor) -> Read:
    width, index, as_real = _width(tensor), gives.tensor, real(tensor.quantised)
    wanted = 1 if gives.activation == "sigmoid" else len(gives.classes)
    if width and wanted and width != wanted:
        raise ValueError(f"output {index} is {list(tensor.shape)}: the description wants {wanted} numbers")
    if gives.activation == "softmax" and 0 < width <= FEW:
        return lambda found: _softmax_of_few(as_real(found[index]).reshape(-1).tolist())
    if gives.activation == "softmax":
        return lambda found: softmax(as_real(found[index]).reshape(-1))
    if gives.activation == "none":
        return lambda found: as_real(found[index]).reshape(-1)

    def yes_or_no(found: Tensors) -> Array:
        logit = float(as_real(found[index]).reshape(()))
        p = 1 / (1 + exp(-logit)) if logit > -700 else 0.0
        return np.array([1 - p, p])

    return yes_or_no


def _softmax_of_few(logits: list[float]) -> Classes:
    top = max(logits)
    powers = [exp(logit - top) for logit in logits]
    total = sum(powers)
    return Classes(probs=tuple([power / total for power in powers]))


def _number(gives: Regression, tensor: FileTensor) -> Read:
    if _width(tensor) > 1:
        raise ValueError(f"output {gives.tensor} is {list(tensor.shape)}: a regression gives one number")
    index, as_real, scale, offset = gives.tensor, real(tensor.quantised), gives.scale, gives.offset
    return lambda found: Scalar(scalar=float(as_real(found[index]).reshape(())) * scale + offset)


def _vector(gives: Embedding, tensor: FileTensor) -> Read:
    index, as_real = gives.tensor, real(tensor.quantised)

    def read(found: Tensors) -> Value:
        vector = as_real(found[index]).reshape(-1)
        if gives.normalised:
            vector = vector / (float(np.sqrt(vector @ vector)) or 1.0)
        return Vector(vector=tuple(vector.tolist()))

    return read


def _boxes(gives: Detection, tensors: Sequence[FileTensor], sample: tuple[int, ...]) -> Read:
    if len(sample) < 2:
        raise ValueError(f"boxes need a picture, a sample is {list(sample)}")
    as_real = {i: real(_one(tensors, i).quantised) for i in boxes.used(gives)}
    height, width = sample[:2]
    size = (float(width), float(height)) if gives.unit == "fractions" else (1.0, 1.0)
    middle = boxes.middles(gives.cells, height, width) if gives.cells else None
    return lambda found: boxes.read(gives, {i: f(found[i]) for i, f in as_real.items()}, size, middle)
