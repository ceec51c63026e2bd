"""How an array's bytes are written so that fewer travel: in half precision, compressed, or as a picture.

What was written is read with every claim of the sender checked before anything is inflated. Pictures need Pillow, which
is imported only where one is written or read.
"""

import struct
import zlib
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any, Final, Literal

from messages.codec import BadPayload
from messages.shapes import Tensor

if TYPE_CHECKING:
    import numpy as np

Name = Literal["", "float16", "gzip", "float16+gzip", "jpeg", "png", "webp"]
"""Raw bytes; floats in half precision; compressed; both; a picture, of uint8 [h, w], [h, w, 1] or [h, w, 3]."""

NAMES: Final[tuple[Name, ...]] = ("", "float16", "gzip", "float16+gzip", "jpeg", "png", "webp")

MOST_BYTES: Final = 32 << 20
"""What may come out of compressed bytes: a frame of 3840 x 2160 in colour fits."""

_STARTS: Final = {"gzip": b"\x1f\x8b\x08", "jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF"}
_PICTURES: Final = ("jpeg", "png", "webp")
_GZIP: Final = 31
"""zlib's word for a gzip header and the widest window."""

_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, MemoryError,
                  struct.error, zlib.error)  # fmt: skip
"""What Pillow raises for bytes that are no picture."""


class Unfit(ValueError):
    """An array that cannot be written so. The text says why."""


def write(array: "np.ndarray[Any, Any]", encoding: Name, quality: int) -> bytes:
    """A little-endian array's bytes in this encoding. Raises Unfit, and ImportError where Pillow is missing."""
    problem = _unfit(encoding, array.dtype.name, array.shape)
    if problem:
        raise Unfit(problem)
    if encoding in _PICTURES:
        return _draw(array, encoding, quality)
    if encoding.startswith("float16"):
        array = _halved(array)
    data = array.tobytes()
    return zlib.compress(data, wbits=_GZIP) if encoding.endswith("gzip") else data


def check(tensor: Tensor, raw_size: int) -> None:
    """Raise BadPayload when an encoded tensor is plainly not what it says: cheap, and nothing is inflated."""
    encoding, data = tensor.encoding, tensor.data
    if encoding not in NAMES:
        known = ", ".join(NAMES[1:])
        raise BadPayload(f"x.encoding {encoding[:40]!r}: not one of {known}", newer=True)
    problem = _unfit(encoding, tensor.dtype, tensor.shape)
    if problem:
        raise BadPayload(f"x.encoding {problem}")
    size = 2 * prod(tensor.shape) if encoding.startswith("float16") else raw_size
    if encoding == "float16":
        if len(data) != size:
            raise BadPayload(f"x.data has {len(data)} bytes, float16 of {tensor.dtype}{list(tensor.shape)} has {size}")
        return
    if size > MOST_BYTES:
        raise BadPayload(f"x.shape {tensor.shape}: {size} bytes, at most {MOST_BYTES} may be compressed")
    if not data.startswith(_STARTS[encoding.removeprefix("float16+")]):
        raise BadPayload(f"x.data is no {encoding}: it begins with {data[:4]!r}")
    if encoding.endswith("gzip") and int.from_bytes(data[-4:], "little") != size:
        raise BadPayload(f"x.data holds {int.from_bytes(data[-4:], 'little')} bytes, its shape has {size}")


def read(tensor: Tensor) -> "np.ndarray[Any, Any]":
    """The numbers of an encoded tensor that passed `check`, flat and of its dtype. Raises BadPayload."""
    import numpy as np

    if tensor.encoding in _PICTURES:
        return _look(tensor)
    half = tensor.encoding.startswith("float16")
    stored = np.dtype("float16" if half else tensor.dtype).newbyteorder("<")
    data = tensor.data
    if tensor.encoding.endswith("gzip"):
        data = _inflated(data, prod(tensor.shape) * stored.itemsize)
    flat = np.frombuffer(data, stored)
    return flat.astype(tensor.dtype) if half else flat


def is_compressed(tensor: Tensor) -> bool:
    """Whether more may come out of the bytes than they are, so that reading them has its price."""
    return tensor.encoding not in ("", "float16")


def _unfit(encoding: str, dtype: str, shape: tuple[int, ...]) -> str:
    """Why no array of this kind is written so; empty when it can be."""
    if encoding.startswith("float16") and dtype not in ("float32", "float64"):
        return f"{encoding!r}: only float32 and float64 can be halved, not {dtype[:40]}"
    if encoding in _PICTURES:
        pixels = shape[:2] if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)) else (0,)
        if dtype != "uint8" or not min(pixels):
            return f"{encoding!r}: only uint8 [h, w], [h, w, 1] and [h, w, 3] are pictures, not {dtype[:40]} {shape}"
    return ""


def _halved(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        half = array.astype("<f2")
    if not np.isfinite(half).all():
        raise Unfit("'float16': it holds a number beyond 65504, or none")
    return half


def _inflated(data: bytes, size: int) -> bytes:
    stream = zlib.decompressobj(wbits=_GZIP)
    try:
        raw = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise BadPayload(f"x.data: {error}") from error
    if len(raw) != size or not stream.eof or stream.unused_data:
        raise BadPayload(f"x.data is not {size} bytes in gzip")
    return raw


def _draw(array: "np.ndarray[Any, Any]", encoding: str, quality: int) -> bytes:
    from PIL import Image

    file = BytesIO()
    options = {} if encoding == "png" else {"quality": quality}
    try:
        Image.fromarray(array.reshape(array.shape[:2]) if array.shape[2:] == (1,) else array).save(
            file, encoding, **options
        )
    except (OSError, ValueError, KeyError) as error:
        raise Unfit(f"{encoding!r}: {error}") from error
    return file.getvalue()


def _look(tensor: Tensor) -> "np.ndarray[Any, Any]":
    import numpy as np

    try:
        from PIL import Image
    except ImportError as error:
        raise BadPayload(f"x.encoding {tensor.encoding!r}: needs Pillow: pip install 'skerry[images]'") from error
    height, width, *channels = tensor.shape
    mode = "RGB" if channels == [3] else "L"
    try:
        with Image.open(BytesIO(tensor.data), formats=[tensor.encoding]) as picture:
            # WebP knows no grey: it comes back as colour
            found = "L" if (tensor.encoding, mode, picture.mode) == ("webp", "L", "RGB") else picture.mode
            if (picture.size, found) != ((width, height), mode):
                said = f"{picture.mode} {picture.height} x {picture.width}, x.shape is {tensor.shape}"
                raise BadPayload(f"x.data is a picture of {said}")
            return np.asarray(picture.convert(mode)).reshape(-1)
    except BadPayload:
        raise
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise BadPayload(f"x.data: {type(error).__name__}: {str(error)[:80]}") from error
