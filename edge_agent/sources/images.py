"""Pictures as an engine's input: grey or colour, resized, scaled. Needs Pillow, the extra `images`."""

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.feed import SourceError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture becomes what the engine takes, where the engine's shape does not say it all.

    `size` is (height, width), needed where the engine takes a flat row. `scale` multiplies pixels (0 to 255): without
    it they become 0 to 1 for an engine that takes floats, and stay as they are for one that takes whole numbers.
    """

    size: tuple[int, int] | None = None
    scale: float | None = None


class Layout(NamedTuple):
    """Pillow's mode ("L" or "RGB"), the size in pixels, whether channels come first, and what to multiply by."""

    mode: str
    height: int
    width: int
    channels_first: bool
    scale: float


def layout(takes: TensorSpec, options: ImageOptions) -> Layout:
    """How pictures are laid out for an engine. Raises SourceError when they cannot be."""
    shape = takes.shape
    scale = options.scale if options.scale is not None else 1 / 255 if takes.dtype.startswith("float") else 1.0
    height, width = options.size or _size(takes)
    channels = prod(shape) / (height * width) if height > 0 < width else 0
    if channels not in (1, 3):
        raise SourceError(f"size is {height} x {width}, which is no grey or RGB picture in {takes}")
    first = len(shape) == 3 and shape == (channels, height, width)
    return Layout("L" if channels == 1 else "RGB", height, width, first, scale)


def fit(picture: "Image", to: Layout, takes: TensorSpec) -> "np.ndarray[Any, Any]":
    """A picture as the engine takes it, upright. Raises ValueError for one of more than 8 bits a channel."""
    import numpy as np
    from PIL import ImageOps

    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"a picture of mode {picture.mode}: only 8 bits a channel are read")
    upright = ImageOps.exif_transpose(picture).convert(to.mode).resize((to.width, to.height))
    pixels = np.asarray(upright)
    if to.channels_first and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, -1, 0)
    if to.scale != 1.0:
        pixels = pixels * to.scale
    return pixels.astype(takes.dtype).reshape(takes.shape)


def _size(takes: TensorSpec) -> tuple[int, int]:
    match takes.shape:
        case (height, width) | (height, width, 1 | 3) | (1 | 3, height, width):
            return height, width
    raise SourceError(f"the engine takes {takes}: give size = [height, width], so that pictures can be laid out")
