"""The engine that every install has: logistic regression and small multi-layer perceptrons in NumPy.

A model file holds `w0, b0, w1, b1, ...` (weights as (in, out)), ReLU between the layers. It may also say (as arrays of
an .npz, as metadata of a .safetensors): `output` ("classes", the default, is a softmax; "scalar" is the one number
of the last layer), `input_shape` and `input_dtype` (default: one float32 row as long as `w0` is high).
"""

from collections.abc import Sequence
from hashlib import sha256
from math import prod
from typing import Any, NamedTuple

import numpy as np

from edge_agent.engines.protocol import ModelError, TensorSpec
from messages import npz_file, safetensors_file
from messages.models import FileTensor, Format
from messages.tensors import DTYPES

_ABOUT = ("output", "input_shape", "input_dtype")

Array = np.ndarray[Any, Any]


class Layer(NamedTuple):
    """Weights (in, out) and bias (out,)."""

    weights: Array
    bias: Array


class NumpyEngine:
    """A feed-forward network on one sample at a time."""

    def __init__(self, layers: list[Layer], input: TensorSpec, *, output: str, digest: str) -> None:  # noqa: A002
        self.input = input
        self.digest = digest
        self._hidden, self._last = layers[:-1], layers[-1]
        self._dtype = layers[0].weights.dtype
        self._softmax = output == "classes"

    def predict(self, x: Array) -> Array:
        """Class probabilities (classes,), or one number as an array without axes. NaN comes out as NaN."""
        with np.errstate(all="ignore"):
            row = x.reshape(-1).astype(self._dtype, copy=False)
            for weights, bias in self._hidden:
                row = np.maximum(row @ weights + bias, 0.0)
            out: Array = row @ self._last.weights + self._last.bias
            return softmax(out) if self._softmax else out.reshape(())


class NumpyRuntime:
    """The same network as a runtime, for a description of its own around it."""

    name = f"numpy {np.__version__}"

    def __init__(self, engine: NumpyEngine, units: int) -> None:
        spec = engine.input
        self.input = FileTensor(name="x", dtype=spec.dtype, shape=(1, *spec.shape))
        self.outputs = (FileTensor(name="y", dtype="float32", shape=(1, units)),)
        self._predict = engine.predict

    def run(self, x: Array) -> Sequence[Array]:
        """Run the network once."""
        return (self._predict(x),)


def load(raw: bytes, form: Format) -> tuple[NumpyEngine, NumpyRuntime]:
    """A model from a file's bytes, as an engine and as a runtime. Raises ModelError."""
    try:
        arrays, about = _read(form, raw)
        layers = _layers(arrays)
        spec = _input(about, layers[0])
        output = _output(about, layers[-1], f"b{len(layers) - 1}")
    except ValueError as error:
        raise ModelError(str(error)) from error
    engine = NumpyEngine(layers, spec, output=output, digest=sha256(raw).hexdigest())
    return engine, NumpyRuntime(engine, len(layers[-1].bias))


def _read(form: Format, raw: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a file, and what it says about itself as text."""
    if form == "safetensors":
        return safetensors_file.read(raw)
    arrays = npz_file.read(raw)
    return arrays, {name: _text(arrays.pop(name)) for name in _ABOUT if name in arrays}


def _text(array: Array) -> str:
    return ",".join(map(str, array.reshape(-1)[:16].tolist()))


def _layers(arrays: dict[str, Array]) -> list[Layer]:
    expected = [f"{letter}{number}" for number in range(max(1, (len(arrays) + 1) // 2)) for letter in "wb"]
    missing, extra = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
    if missing or extra:
        raise ValueError(f"tensors: expected {', '.join(expected)}; missing {missing}, not known {extra}"[:300])
    layers: list[Layer] = []
    dtype = np.dtype("float64" if arrays["w0"].dtype.itemsize == 8 else "float32")
    for number in range(len(expected) // 2):
        before = layers[-1].weights.shape[1] if layers else None
        layers.append(_layer(number, arrays, before))
    return [Layer(layer.weights.astype(dtype), layer.bias.astype(dtype)) for layer in layers]


def _layer(number: int, arrays: dict[str, Array], before: int | None) -> Layer:
    weights, bias = arrays[f"w{number}"], arrays[f"b{number}"]
    for name, array, axes in ((f"w{number}", weights, 2), (f"b{number}", bias, 1)):
        if array.dtype.kind not in "fiu":
            raise ValueError(f"tensor {name}: expected numbers, got {array.dtype.name}")
        if array.ndim != axes or 0 in array.shape:
            raise ValueError(f"tensor {name}: expected {axes} axes, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"tensor {name}: holds NaN or infinity")
    if before is not None and weights.shape[0] != before:
        raise ValueError(f"tensor w{number}: expected shape ({before}, ...), got {weights.shape}")
    if bias.shape[0] != weights.shape[1]:
        raise ValueError(f"tensor b{number}: expected shape ({weights.shape[1]},), got {bias.shape}")
    return Layer(weights, bias)


def _input(about: dict[str, str], first: Layer) -> TensorSpec:
    rows = first.weights.shape[0]
    dtype = about.get("input_dtype", "float32")
    if dtype not in DTYPES:
        raise ValueError(f"input_dtype {dtype!r}: not one of {', '.join(DTYPES)}")
    text = about.get("input_shape", str(rows)).strip("[]() ")
    try:
        shape = tuple(int(size) for size in text.split(",") if size.strip())
    except ValueError:
        raise ValueError(f"input_shape {text!r}: write it like 8,8") from None
    if prod(shape) != rows or any(size < 1 for size in shape):
        raise ValueError(f"input_shape {shape}: has {prod(shape)} numbers, w0 takes {rows}")
    return TensorSpec(dtype, shape)


def _output(about: dict[str, str], last: Layer, name: str) -> str:
    output, units = about.get("output", "classes"), last.bias.shape[0]
    if output not in ("classes", "scalar"):
        raise ValueError(f'output {output!r}: use "classes" or "scalar"')
    if (units == 1) != (output == "scalar"):
        raise ValueError(f"tensor {name}: output {output!r} cannot be {units} wide")
    return output


def softmax(logits: Array) -> Array:
    """Probabilities of a row of logits."""
    exponentials = np.exp(logits - np.maximum.reduce(logits))
    out: Array = exponentials / np.add.reduce(exponentials)
    return out
