"""Arrays as messages: NumPy arrays to `Tensor` and back, with every claim of the sender checked.

NumPy is imported only where an array is made, so an agent without an engine does without it.
"""

from math import prod
from typing import TYPE_CHECKING, Any

from messages import encodings
from messages.codec import BadPayload
from messages.shapes import Tensor

if TYPE_CHECKING:
    import numpy as np

DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "bool")

MOST_AXES = 8


def pack(array: "np.ndarray[Any, Any]", encoding: encodings.Name = "", *, quality: int = 85) -> Tensor:
    """An array as a message; `quality` (1 to 100) is that of JPEG and WebP.

    Raises ValueError for a dtype that does not travel, `encodings.Unfit` for what cannot be encoded so.
    """
    name = array.dtype.name
    if name not in DTYPES:
        raise ValueError(f"dtype {name}: only {', '.join(DTYPES)} travel")
    little = array if array.dtype.byteorder in "<=|" else array.astype(array.dtype.newbyteorder("<"))
    data = encodings.write(little, encoding, quality) if encoding else little.tobytes()
    return Tensor(dtype=name, shape=array.shape, data=data, encoding=encoding)


def check(tensor: Tensor) -> None:
    """Raise BadPayload unless the bytes are what dtype and shape say, as far as that shows without decoding them."""
    if tensor.dtype not in DTYPES:
        raise BadPayload(f"x.dtype {tensor.dtype[:40]!r}: not one of {', '.join(DTYPES)}")
    if len(tensor.shape) > MOST_AXES or any(size < 0 for size in tensor.shape):
        raise BadPayload(f"x.shape {tensor.shape}: at most {MOST_AXES} sizes, none negative")
    wanted = prod(tensor.shape) * _item_size(tensor.dtype)
    if tensor.blob is not None:
        _check_blob(tensor, wanted)
    elif tensor.encoding:
        encodings.check(tensor, wanted)
    elif len(tensor.data) != wanted:
        raise BadPayload(f"x.data has {len(tensor.data)} bytes, {tensor.dtype}{list(tensor.shape)} has {wanted}")


def _check_blob(tensor: Tensor, wanted: int) -> None:
    """What shows of bytes that are still to come; the rest is checked when they are there."""
    assert tensor.blob is not None, "asked before"
    size = tensor.blob.size
    if tensor.data:
        raise BadPayload(f"x has {len(tensor.data)} bytes and a blob: use one of the two")
    if size > encodings.MOST_BYTES or (not tensor.encoding and size != wanted):
        most = min(wanted, encodings.MOST_BYTES)
        raise BadPayload(f"x.blob has {size} bytes, {tensor.dtype}{list(tensor.shape)} has {most} at most")


def unpack(tensor: Tensor) -> "np.ndarray[Any, Any]":
    """A message as a read-only array. Raises BadPayload when it is not what it says, or holds NaN or infinity."""
    import numpy as np

    check(tensor)
    kind = np.dtype(tensor.dtype).newbyteorder("<")
    flat = encodings.read(tensor) if tensor.encoding else np.frombuffer(tensor.data, kind)
    flat.flags.writeable = False
    try:
        array = flat.reshape(tensor.shape)
    except (ValueError, OverflowError) as error:
        raise BadPayload(f"x.shape {tensor.shape}: {error}") from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise BadPayload(f"x has {array.flat[first]} at index {first}")
    return array


def from_lists(rows: object, dtype: str) -> "np.ndarray[Any, Any]":
    """Nested lists of numbers, as people and JSON write arrays, as an array of this dtype.

    Raises BadPayload for ragged lists, for what is no number, and for a number that the dtype cannot hold.
    """
    import numpy as np

    _find_bad(rows, "x", dtype)
    try:
        return cast(np.asarray(rows), dtype)
    except BadPayload:
        raise
    except (ValueError, OverflowError) as error:
        raise BadPayload(f"x: {str(error)[:200]}") from error


def cast(given: "np.ndarray[Any, Any]", dtype: str) -> "np.ndarray[Any, Any]":
    """The same numbers in this dtype. Raises BadPayload for one that it cannot hold, and for what are no numbers."""
    import numpy as np

    if given.dtype.kind not in "biufO":  # O: whole numbers of any size
        raise BadPayload(f"x holds {given.dtype.name}: not numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes another, and is refused below
        array = given.astype(dtype)
    fits = np.isfinite(array).all() if array.dtype.kind == "f" else np.array_equal(given, array)
    if not fits:
        raise BadPayload(f"x holds a number that {dtype} cannot hold")
    return array


def _find_bad(item: object, place: str, dtype: str, depth: int = 0) -> None:
    """Name the first thing in nested lists that is no number."""
    if isinstance(item, list) and depth < MOST_AXES:
        for index, inner in enumerate(item):
            if type(inner) is not float and type(inner) is not int:
                _find_bad(inner, f"{place}[{index}]", dtype, depth + 1)
    elif isinstance(item, list):
        raise BadPayload(f"x is nested more than {MOST_AXES} deep")
    elif not isinstance(item, bool if dtype == "bool" else int | float) or (isinstance(item, bool) and dtype != "bool"):
        raise BadPayload(f"{place} is {item!r:.60}: not a number")


def _item_size(dtype: str) -> int:
    digits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) // 8 if digits else 1
