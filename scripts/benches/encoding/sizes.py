"""Bytes of a sample on the wire, and what writing a picture costs beside a bare call of Pillow."""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from statistics import median
from time import perf_counter
from typing import Any, Final

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from messages.codec import encode
from messages.encodings import Name
from messages.tensors import pack, unpack
from scripts.benches import Plan, Row

FRAME: Final = (416, 736, 3)
QUALITY: Final = 85
ROUNDS: Final = 15
SEDNA: Final = "JSON of nested lists, as Sedna sends it"

Array = np.ndarray[Any, Any]


def frame(plan: Plan) -> Iterator[Row]:
    """A camera's frame: cut out of a photograph."""
    photographs = [_cut(load_sample_image(name), plan.seed) for name in ("china.jpg", "flower.jpg")]
    about = f"{'x'.join(map(str, FRAME))} uint8, out of scikit-learn's china.jpg and flower.jpg, quality {QUALITY}"
    yield from _sizes("frame", photographs, ("", "gzip", "png", "jpeg", "webp"), (about, plan.seed))
    for encoding in ("jpeg", "png", "webp"):
        ours, bare = _times(photographs[0], encoding)
        yield Row(
            area="encoding", name=f"frame/{encoding}/time", value=ours * 1e3, unit="ms", better="lower", data=about,
            seed=plan.seed, runs=ROUNDS, baseline="Pillow alone", baseline_value=bare * 1e3,
        )  # fmt: skip


def digits(plan: Plan) -> Iterator[Row]:
    """A small sample: 64 numbers."""
    images = load_digits().data[plan.seed : plan.seed + 10].astype("float32")
    about = ("64 float32, ten of scikit-learn's digits", plan.seed)
    yield from _sizes("digits", list(images), ("", "gzip", "float16", "float16+gzip"), about)


def _cut(photograph: Array, seed: int) -> Array:
    """A frame's worth of it, from a place of the seed's. It is 427 x 640: the sides are filled with their mirror."""
    wide = np.pad(photograph, ((0, 0), (64, 64), (0, 0)), mode="reflect")
    top, left = np.random.default_rng(seed).integers(0, np.array(wide.shape[:2]) - FRAME[:2], endpoint=True)
    return np.ascontiguousarray(wide[top : top + FRAME[0], left : left + FRAME[1]])


def _sizes(what: str, arrays: Sequence[Array], encodings: Sequence[Name], about: tuple[str, int]) -> Iterator[Row]:
    data, seed = about
    sedna = float(np.mean([len(json.dumps(array.tolist())) for array in arrays]))
    ours = {encoding or "raw": float(np.mean([_wire(array, encoding) for array in arrays])) for encoding in encodings}
    for name, size in ({"json": sedna} | ours).items():
        yield Row(
            area="encoding", name=f"{what}/{name}", value=size, unit="bytes", better="lower", data=data, seed=seed,
            runs=len(arrays), baseline=SEDNA, baseline_value=sedna,
        )  # fmt: skip


def _wire(array: Array, encoding: Name) -> int:
    """The bytes of a sample as it stands in its message."""
    tensor = pack(array, encoding, quality=QUALITY)
    assert unpack(tensor).shape == array.shape
    return len(encode(tensor))


def _times(array: Array, encoding: Name) -> tuple[float, float]:
    """Seconds of a call: ours, and Pillow's alone, taken in turns."""
    options = {} if encoding == "png" else {"quality": QUALITY}
    ours, bare = [], []
    for _ in range(ROUNDS):
        begin = perf_counter()
        pack(array, encoding, quality=QUALITY)
        middle = perf_counter()
        Image.fromarray(array).save(BytesIO(), encoding, **options)
        ours.append(middle - begin)
        bare.append(perf_counter() - middle)
    return median(ours), median(bare)
