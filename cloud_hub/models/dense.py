"""Writes a stack of dense layers as a .tflite file, with nothing but the schema that comes with ai-edge-litert.

A converter for any network takes 2 GB; that of a perceptron is a list: a fully connected operator for each layer, with
ReLU between them, and softmax at the end where it gives classes.
"""

from collections.abc import Sequence
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Array = np.ndarray[Any, Any]
Layers = Sequence[tuple[Array, Array]]
"""Weights (in, out) and bias (out,) of each layer."""

_ALIGNED: Final = 16
"""Bytes: what the schema asks for, and what processors that load several numbers at once like."""

_VERSION: Final = 3


def tflite(layers: Layers, *, softmax: bool) -> bytes:
    """A model of one input (1, in) and one output (1, out), both float32."""
    graph = _Graph()
    at = first = graph.tensor("x", (1, len(layers[0][0])))
    for number, (weights, bias) in enumerate(layers):
        last = number == len(layers) - 1
        inputs = [at, graph.constant(f"w{number}", weights.T), graph.constant(f"b{number}", bias)]
        at = graph.tensor("logits" if last else f"h{number}", (1, len(bias)))
        graph.add(_dense(relu=not last), inputs, at)
    if softmax:
        logits, at = at, graph.tensor("y", (1, len(layers[-1][1])))
        graph.add(_softmax(), [logits], at)
    return graph.packed(first, at)


class _Buffer(schema.BufferT):  # type: ignore[misc]  # the schema is generated without types
    """Constants; the generated code would put them at any address."""

    def Pack(self, builder: Any) -> int:  # noqa: N802  # the schema's name
        data = b"" if self.data is None else bytes(self.data)
        builder.StartVector(1, len(data), _ALIGNED)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        if data:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


class _Graph:
    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers = [_Buffer()]  # the first one is empty, by the schema
        self._operators: list[Any] = []
        self._codes: list[Any] = []

    def tensor(self, name: str, shape: tuple[int, ...], buffer: int = 0) -> int:
        kind = schema.TensorType.FLOAT32
        self._tensors.append(schema.TensorT(shape=list(shape), type=kind, buffer=buffer, name=name))
        return len(self._tensors) - 1

    def constant(self, name: str, array: Array) -> int:
        numbers = np.ascontiguousarray(array, "<f4")
        self._buffers.append(_Buffer(data=numbers.tobytes()))
        return self.tensor(name, numbers.shape, len(self._buffers) - 1)

    def add(self, operator: tuple[int, int, Any], inputs: list[int], output: int) -> None:
        code, kind, options = operator
        known = [each.builtinCode for each in self._codes]
        if code not in known:
            self._codes.append(schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code))
            known.append(code)
        at = known.index(code)
        made = schema.OperatorT(at, inputs, [output], builtinOptionsType=kind, builtinOptions=options)
        self._operators.append(made)

    def packed(self, first: int, last: int) -> bytes:
        graph = schema.SubGraphT(
            tensors=self._tensors, inputs=[first], outputs=[last], operators=self._operators, name="main"
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name="x", tensorIndex=first)],
            outputs=[schema.TensorMapT(name="y", tensorIndex=last)], signatureKey="serving_default",
        )  # fmt: skip
        model = schema.ModelT(
            version=_VERSION, operatorCodes=self._codes, subgraphs=[graph], buffers=self._buffers,
            description="skerry", signatureDefs=[signature],
        )  # fmt: skip
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _dense(*, relu: bool) -> tuple[int, int, Any]:
    kinds = schema.ActivationFunctionType
    options = schema.FullyConnectedOptionsT(fusedActivationFunction=kinds.RELU if relu else kinds.NONE)
    return schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOptions.FullyConnectedOptions, options


def _softmax() -> tuple[int, int, Any]:
    options = schema.SoftmaxOptionsT(beta=1.0)
    return schema.BuiltinOperator.SOFTMAX, schema.BuiltinOptions.SoftmaxOptions, options
