"""What an engine is: one method, what it takes, and which model file it runs."""

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

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


class ModelError(Exception):
    """A model cannot be used: missing, damaged, or not what is expected. The text names the file and the tensor."""
