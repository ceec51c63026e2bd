"""A strict reader of .npz files: no pickles, and nothing that unpacks to more than it is."""

import zipfile
from io import BytesIO
from typing import Any

import numpy as np

MAX_ARRAYS = 10_000

Arrays = dict[str, np.ndarray[Any, Any]]


def read(raw: bytes) -> Arrays:
    """All arrays of an archive that `numpy.savez` wrote. Raises ValueError that names the array."""
    try:
        with zipfile.ZipFile(BytesIO(raw)) as archive:
            _check(archive, len(raw))
            return {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"not a readable .npz: {error}") from error


def _check(archive: zipfile.ZipFile, size: int) -> None:
    items = archive.infolist()
    if len(items) > MAX_ARRAYS:
        raise ValueError(f"{len(items)} arrays: at most {MAX_ARRAYS}")
    if len({info.filename for info in items}) != len(items):
        raise ValueError("an array's name stands there twice")
    for info in items:
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"array {info.filename!r}: compressed; write it with numpy.savez")
    total = sum(info.file_size for info in items)
    if total > size:
        raise ValueError(f"arrays of {total} bytes in a file of {size}")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    try:
        array = np.load(BytesIO(archive.read(info)), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OverflowError, TypeError, SyntaxError) as error:
        raise ValueError(f"array {info.filename!r}: {type(error).__name__}: {error}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"array {info.filename!r}: not a plain array")  # noqa: TRY004  # bad bytes, no mistake in code
    return array
