"""ONNX models, by ONNX Runtime on the CPU."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from edge_agent.engines.protocol import ModelError
from messages.models import FileTensor

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ImportError:
    raise ModelError("an .onnx file needs onnxruntime: pip install 'skerry[onnx]'") from None

Array = np.ndarray[Any, Any]

_ERRORS: tuple[type[Exception], ...] = (
    *(each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception)),
    ValueError, RuntimeError, MemoryError,
)  # fmt: skip

_DTYPES: Final = {"float": "float32", "double": "float64"}

_ERRORS_ONLY: Final = 3


class OnnxRuntime:
    """A session; its batch axis may be open."""

    name = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, session: "onnxruntime.InferenceSession") -> None:
        inputs = session.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"takes {len(inputs)} inputs: only models with one are run")
        self.input = _tensor(inputs[0])
        self.outputs = tuple(map(_tensor, session.get_outputs()))
        self._session = session
        self._name = self.input.name

    def run(self, x: Array) -> Sequence[Array]:
        """Run the model once. Raises RuntimeError."""
        try:
            found: Sequence[Array] = self._session.run(None, {self._name: x})
        except _ERRORS as error:
            raise RuntimeError(_said(error)) from error
        return found


def load(raw: bytes, threads: int) -> OnnxRuntime:
    """Load a file's bytes: no other file is opened for it. Raises ModelError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a device has better to do than to wait
    options.log_severity_level = _ERRORS_ONLY
    try:
        return OnnxRuntime(onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"]))
    except _ERRORS as error:
        raise ModelError(_said(error)) from error


def _said(error: Exception) -> str:
    return str(error).removeprefix("[ONNXRuntimeError] : ").strip() or type(error).__name__


def _tensor(node: Any) -> FileTensor:
    if not node.type.startswith("tensor("):
        raise ValueError(f"{node.name!r} is {node.type}: only tensors are read")
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return FileTensor(name=node.name, dtype=_DTYPES.get(dtype, dtype), shape=shape)
