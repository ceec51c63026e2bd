"""The bare calls of the runtimes, as a program would write them without us."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[Array], Any]


def tflite(path: Path, _name: str) -> Call:
    """An interpreter on one sample."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call(x: Array) -> Any:
        interpreter.set_tensor(into, x[None])
        interpreter.invoke()
        return interpreter.get_tensor(out)

    return call


def onnx(path: Path, _name: str) -> Call:
    """A session on one sample."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x[None]})[0]


def pytorch(path: Path, name: str) -> Call:
    """A module of `networks.py` on one sample."""
    import torch
    from safetensors.torch import load_file

    from scripts.benches.engine import networks

    module = getattr(networks, name)()
    module.load_state_dict(load_file(path))
    module.eval()

    def call(x: Array) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(x[None])).numpy()

    return call
