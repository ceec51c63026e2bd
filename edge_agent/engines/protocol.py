"""What an engine is: one method, what it takes, and which model file it runs. And what a runtime is, inside one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from messages.models import FileTensor
from messages.shapes import Value

if TYPE_CHECKING:
    import numpy as np


class TensorSpec(Struct, frozen=True):
    """What one sample looks like: NumPy dtype name and shape, without a batch axis."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


class Engine(Protocol):
    """Runs one model on one sample at a time; never called by two threads at once."""

    @property
    def input(self) -> TensorSpec:
        """What `predict` takes."""

    @property
    def digest(self) -> str:
        """SHA-256 of the model file in hex: what the node's status and every sample name."""

    def predict(self, x: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any] | Value":
        """One sample's result: a row of class probabilities, a number as an array without axes, or a `Value`."""


class Runtime(Protocol):
    """A model file in its runtime, which does not know what the numbers mean. One input, a batch of one."""

    @property
    def name(self) -> str:
        """The runtime and its version, for people."""

    @property
    def input(self) -> FileTensor:
        """What `run` takes."""

    @property
    def outputs(self) -> tuple[FileTensor, ...]:
        """What `run` gives."""

    def run(self, x: "np.ndarray[Any, Any]") -> "Sequence[np.ndarray[Any, Any]]":
        """Run the model once, on a tensor of the file's own dtype and shape."""


class ModelError(Exception):
    """A model cannot be used: missing, damaged, or not what is expected. The text names the file and the tensor."""
