"""From a sample to the file's tensor: laid out, scaled and quantised as the description and the file say."""

from collections.abc import Callable
from math import isclose, prod
from typing import Any

import numpy as np

from messages.models import FileTensor, Input, Quantised

Array = np.ndarray[Any, Any]
Step = Callable[[Array], Array]


def preparer(takes: Input, tensor: FileTensor) -> Step:
    """The function that makes the file's tensor of one sample. Raises ValueError when it cannot be made of them."""
    if takes.tensor is not None:
        agree(takes.tensor, tensor, "input")
    dtype = _dtype(tensor)
    shape = _shape(takes, tensor)
    turned = takes.layout == "NCHW" and len(takes.shape) == 3
    number = _numbers(takes, tensor.quantised, dtype)

    def prepare(x: Array) -> Array:
        x = number(x)
        if turned:
            x = x.transpose(2, 0, 1)
        return np.ascontiguousarray(x, dtype).reshape(shape)

    return prepare


def _numbers(takes: Input, quantised: Quantised | None, dtype: np.dtype[Any]) -> Step:
    """The function from a sample's numbers to the tensor's."""
    scale, offset = _line(takes, quantised)
    plain = np.array_equal(scale, 1.0) and np.array_equal(offset, 0.0)
    if plain and (dtype.kind not in "iu" or np.can_cast(takes.dtype, dtype)):
        return lambda x: x
    if dtype.kind not in "iu":
        return lambda x: np.asarray(x * scale + offset)
    lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max

    def whole(x: Array) -> Array:
        if x.dtype.kind == "f" and np.isnan(np.minimum.reduce(x, axis=None)):
            raise ValueError(f"the sample holds NaN, which {dtype.name} has not")
        return np.asarray(np.minimum(np.maximum(np.rint(x * scale + offset), lowest), highest), dtype)

    if takes.dtype != "uint8" or scale.ndim or offset.ndim:
        return whole
    table = whole(np.arange(256, dtype="uint8"))
    return lambda x: np.asarray(table[x])


def agree(said: FileTensor, found: FileTensor, what: str) -> None:
    """Raise ValueError unless a tensor is what the description says of it."""
    quantised = said.quantised == found.quantised or (
        said.quantised is not None
        and found.quantised is not None
        and said.quantised.zero_point == found.quantised.zero_point
        and isclose(said.quantised.scale, found.quantised.scale, rel_tol=1e-6)
    )
    if said.dtype != found.dtype or said.shape != found.shape or not quantised:
        raise ValueError(f"{what}: the description says {_said(said)}, the file has {_said(found)}")


def _dtype(tensor: FileTensor) -> np.dtype[Any]:
    try:
        dtype = np.dtype(tensor.dtype)
    except TypeError:
        raise ValueError(f"input {tensor.name!r} is {tensor.dtype}: not numbers") from None
    if dtype.kind not in "fiub":
        raise ValueError(f"input {tensor.name!r} is {tensor.dtype}: not numbers")
    return dtype


def _shape(takes: Input, tensor: FileTensor) -> tuple[int, ...]:
    """The whole shape of the tensor for one sample, whose axes stand for the same things."""
    batch, *rest = tensor.shape or (1,)
    wanted = takes.tensor_shape
    filling = wanted if len(rest) == len(wanted) else rest
    filled = tuple(size if size > 0 else want for size, want in zip(rest, filling, strict=True))
    fits = filled == wanted
    if not takes.layout:  # axes of one number, or none but one, do not move numbers
        fits = len(filled) == 1 or [size for size in filled if size != 1] == [size for size in wanted if size != 1]
    if batch not in (1, -1) or any(size < 1 for size in filled) or prod(filled) != prod(wanted) or not fits:
        raise ValueError(f"input {tensor.name!r} is {list(tensor.shape)}: a sample {list(takes.shape)} {_hint(takes)}")
    return (1, *filled)


def _hint(takes: Input) -> str:
    return f"in layout {takes.layout} does not fit" if takes.layout else "does not fit (does it need a layout?)"


def _line(takes: Input, quantised: Quantised | None) -> tuple[Array, Array]:
    """Scale and offset from a sample's numbers to the tensor's, quantisation included."""
    scale, offset = np.asarray(takes.scale, "float32"), np.asarray(takes.offset, "float32")
    if quantised is None:
        return scale, offset
    return scale / np.float32(quantised.scale), offset / np.float32(quantised.scale) + np.float32(quantised.zero_point)


def _said(tensor: FileTensor) -> str:
    by = tensor.quantised
    return f"{tensor.dtype}{list(tensor.shape)}" + (f" * {by.scale:g} from {by.zero_point}" if by else "")
