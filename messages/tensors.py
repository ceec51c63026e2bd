"""Arrays as messages: NumPy arrays to `Tensor` and back, with every claim of the sender checked.

NumPy is imported only where an array is made, so an agent without an engine does without it.
"""

from math import prod
from typing import TYPE_CHECKING, Any

from messages.codec import BadPayload
from messages.shapes import Tensor

if TYPE_CHECKING:
    import numpy as np

DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "bool")


def pack(array: "np.ndarray[Any, Any]") -> Tensor:
    """An array as a message. Raises ValueError for a dtype that does not travel."""
    name = array.dtype.name
    if name not in DTYPES:
        raise ValueError(f"dtype {name}: only {', '.join(DTYPES)} travel")
    little = array if array.dtype.byteorder in "<=|" else array.astype(array.dtype.newbyteorder("<"))
    return Tensor(dtype=name, shape=array.shape, data=little.tobytes())


def check(tensor: Tensor) -> None:
    """Raise BadPayload unless the bytes are what dtype and shape say."""
    if tensor.dtype not in DTYPES:
        raise BadPayload(f"x.dtype {tensor.dtype[:40]!r}: not one of {', '.join(DTYPES)}")
    if len(tensor.shape) > 8 or any(size < 0 for size in tensor.shape):
        raise BadPayload(f"x.shape {tensor.shape}: at most 8 sizes, none negative")
    wanted = prod(tensor.shape) * _item_size(tensor.dtype)
    if len(tensor.data) != wanted:
        raise BadPayload(f"x.data has {len(tensor.data)} bytes, {tensor.dtype}{list(tensor.shape)} has {wanted}")


def unpack(tensor: Tensor) -> "np.ndarray[Any, Any]":
    """A message as a read-only array. Raises BadPayload when it is not what it says, or holds NaN or infinity."""
    import numpy as np

    check(tensor)
    flat = np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype).newbyteorder("<"))
    try:
        array = flat.reshape(tensor.shape)
    except (ValueError, OverflowError) as error:
        raise BadPayload(f"x.shape {tensor.shape}: {error}") from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise BadPayload(f"x has {array.flat[first]} at index {first}")
    return array


def _item_size(dtype: str) -> int:
    digits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) // 8 if digits else 1
