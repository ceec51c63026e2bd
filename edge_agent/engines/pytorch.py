"""PyTorch on the larger devices: weights from a .safetensors file, put into a module that the device's owner names.

Only numbers come from the file. The code is the user's own: torch's archives (.pt, .pt2) bring theirs along.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_agent import plugins
from edge_agent.engines.protocol import ModelError
from messages import safetensors_file
from messages.models import FileTensor, Input

try:
    import torch
except ImportError:
    raise ModelError("this engine needs torch: pip install 'skerry[torch]'") from None

Array = np.ndarray[Any, Any]


class TorchRuntime:
    """A module that gives one tensor, or several."""

    name = f"torch {torch.__version__}"

    def __init__(self, module: "torch.nn.Module", takes: Input) -> None:
        dtype = takes.tensor.dtype if takes.tensor else "float32"
        self.input = FileTensor(name="x", dtype=dtype, shape=(1, *takes.tensor_shape))
        self._module = module
        given = self.run(np.zeros(self.input.shape, self.input.dtype))
        self.outputs = tuple(FileTensor(name=f"y{n}", dtype=y.dtype.name, shape=y.shape) for n, y in enumerate(given))

    def run(self, x: Array) -> Sequence[Array]:
        """Run the model once. Raises RuntimeError."""
        with torch.inference_mode():
            found = self._module(torch.from_numpy(x))
        return [found.numpy()] if isinstance(found, torch.Tensor) else [each.numpy() for each in found]


def load(raw: bytes, factory: str, takes: Input, threads: int) -> TorchRuntime:
    """Put a file's weights into the module that `factory` ("module:name") makes. Raises ModelError, PluginError."""
    made = plugins.make(factory, {}, "module")
    if not isinstance(made, torch.nn.Module):
        raise ModelError(f"{factory} made {type(made).__name__}, no torch.nn.Module")
    try:
        arrays, _ = safetensors_file.read(raw)
        _fill(made.state_dict(), arrays)
        torch.set_num_threads(threads)
        return TorchRuntime(made.eval(), takes)
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(str(error)) from error


def _fill(state: "Mapping[str, torch.Tensor]", arrays: Mapping[str, Array]) -> None:
    """Copy all weights, after all of them were compared: torch itself would cast another dtype in silence."""
    missing, extra = sorted(set(state) - set(arrays)), sorted(set(arrays) - set(state))
    if missing or extra:
        raise ValueError(f"tensors: missing {missing}, not known {extra}"[:300])
    new = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    for name, target in state.items():
        if (new[name].dtype, new[name].shape) != (target.dtype, target.shape):
            wanted, got = (f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}" for t in (target, new[name]))
            raise ValueError(f"tensor {name}: the module has {wanted}, the file {got}")
        if not torch.isfinite(new[name]).all():
            raise ValueError(f"tensor {name}: holds NaN or infinity")
    for name, target in state.items():
        target.copy_(new[name])
