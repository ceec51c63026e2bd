"""TensorFlow Lite models: by ai-edge-litert, or by tflite-runtime where that is what is installed."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from edge_agent.engines.protocol import ModelError
from messages.models import FileTensor, Quantised

try:
    from ai_edge_litert.interpreter import Interpreter

    NAME = f"ai-edge-litert {version('ai-edge-litert')}"
except ImportError:
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        raise ModelError("a .tflite file needs ai-edge-litert: pip install 'skerry[tflite]'") from None
    NAME = f"tflite-runtime {version('tflite-runtime')}"

Array = np.ndarray[Any, Any]

_ERRORS = (ValueError, RuntimeError, TypeError, OverflowError, MemoryError)


class TfliteRuntime:
    """An interpreter with its memory; `run` copies in and out."""

    name = NAME

    def __init__(self, interpreter: Interpreter) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1:
            raise ValueError(f"takes {len(inputs)} inputs: only models with one are run")
        self.input = _tensor(inputs[0])
        self.outputs = tuple(map(_tensor, outputs))
        self._interpreter = interpreter
        self._in = inputs[0]["index"]
        self._out = [output["index"] for output in outputs]

    def run(self, x: Array) -> Sequence[Array]:
        """Run the model once. Raises RuntimeError, ValueError."""
        interpreter = self._interpreter
        interpreter.set_tensor(self._in, x)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self._out]


def load(raw: bytes, threads: int, *, look: bool = False) -> TfliteRuntime:
    """Load a file's bytes; `look` for constants that are not finite, too. Raises ModelError."""
    try:
        interpreter = Interpreter(model_content=raw, num_threads=threads)
        if look:
            _look(interpreter, interpreter.get_tensor_details())
        interpreter.allocate_tensors()
        return TfliteRuntime(interpreter)
    except _ERRORS as error:
        raise ModelError(str(error).strip() or type(error).__name__) from error


def _look(interpreter: Interpreter, tensors: Iterable[dict[str, Any]]) -> None:
    for tensor in tensors:
        if not np.isfinite(tensor["quantization_parameters"]["scales"]).all():
            raise ValueError(f"tensor {tensor['name']!r}: its scale is not finite")
        if np.dtype(tensor["dtype"]).kind != "f":
            continue
        try:
            constant = interpreter.get_tensor(tensor["index"])
        except ValueError:  # only constants have their numbers before memory is given to the others
            continue
        if not np.isfinite(constant).all():
            raise ValueError(f"tensor {tensor['name']!r}: holds NaN or infinity")


def _tensor(details: dict[str, Any]) -> FileTensor:
    scale, zero_point = details["quantization"]
    return FileTensor(
        name=details["name"],
        dtype=np.dtype(details["dtype"]).name,
        shape=tuple(map(int, details["shape"])),
        quantised=Quantised(scale=float(scale), zero_point=int(zero_point)) if scale else None,
    )
