"""Arrays as a policy carries them: as few bytes as do."""

import numpy as np

from messages.offload.features import Array
from messages.shapes import Tensor
from messages.tensors import pack

_EXACT_ENOUGH = 2e-3
"""Of the largest number; half precision is good to 5e-4 of each."""


def small(array: Array) -> Tensor:
    """In half precision where that holds the numbers, else in single."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    most = np.abs(array).max(initial=0.0)
    fine = np.isfinite(half).all() and np.abs(array - half).max(initial=0.0) <= _EXACT_ENOUGH * most
    return pack(half if fine else array.astype(np.float32))
