"""What is encoded comes back, and what only claims to be is refused by its field before it costs anything."""

import tracemalloc
import zlib
from io import BytesIO
from math import prod
from random import Random
from typing import Any

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from msgspec import structs
from PIL import Image

from messages.codec import BadPayload, Format, decode, encode
from messages.encodings import MOST_BYTES, NAMES, Name, Unfit
from messages.shapes import Tensor
from messages.tensors import DTYPES, check, pack, unpack

LOSSY: tuple[Name, ...] = ("jpeg", "webp")
PICTURES: tuple[Name, ...] = (*LOSSY, "png")
LIMIT = 65504.0


def picture(*shape: int) -> "np.ndarray[Any, Any]":
    """A smooth one, as cameras give it."""
    rows = np.linspace(0.0, 255.0, prod(shape)).reshape(shape)
    return rows.astype("uint8")


def travelled(array: "np.ndarray[Any, Any]", encoding: Name, form: Format = Format.MSGPACK) -> "np.ndarray[Any, Any]":
    tensor = decode(Tensor, encode(pack(array, encoding), form))
    assert tensor.encoding == encoding
    check(tensor)
    back = unpack(tensor)
    assert (back.dtype, back.shape, back.flags.writeable) == (array.dtype, array.shape, False)
    return back


@given(st.data(), st.sampled_from(DTYPES), st.sampled_from(Format))
def test_gzip_brings_every_dtype_back_as_it_was(data: st.DataObject, dtype: str, form: Format) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    finite = {"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else None
    array = data.draw(arrays.arrays(np.dtype(dtype), shape, elements=finite))
    assert np.array_equal(travelled(array, "gzip", form), array)


@given(st.data(), st.sampled_from(["float32", "float64"]), st.sampled_from(["float16", "float16+gzip"]))
def test_half_precision_keeps_the_dtype_and_three_digits(data: st.DataObject, dtype: str, encoding: Name) -> None:
    numbers = st.floats(-LIMIT, LIMIT, width=32)
    array = data.draw(arrays.arrays(np.dtype(dtype), arrays.array_shapes(max_dims=3, max_side=4), elements=numbers))
    assert np.array_equal(travelled(array, encoding), array.astype("float16").astype(dtype))


def test_half_precision_is_half_as_long() -> None:
    assert len(pack(np.ones(100, "float32"), "float16").data) == 200


@given(
    arrays.arrays("uint8", st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.sampled_from([(5, 3, 1), (2, 7, 3)]))
)
def test_png_brings_pixels_back_as_they_were(array) -> None:
    assert np.array_equal(travelled(array, "png"), array)


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1), (40, 60, 3), (1, 1), (3, 3, 3)])
@pytest.mark.parametrize("encoding", LOSSY)
def test_lossy_pictures_come_back_nearly_as_they_were(encoding: Name, shape: tuple[int, ...]) -> None:
    array = picture(*shape)
    assert np.abs(travelled(array, encoding).astype(int) - array).mean() < 4.0


@pytest.mark.parametrize("encoding", LOSSY)
def test_a_lower_quality_is_shorter(encoding: Name) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype("uint8")
    assert len(pack(noise, encoding, quality=20).data) < len(pack(noise, encoding, quality=95).data) / 2


def test_without_an_encoding_nothing_new_is_written() -> None:
    raw = pack(np.zeros(2, "uint8"))
    assert encode(raw, Format.JSON) == b'{"dtype":"uint8","shape":[2],"data":"AAA="}'
    assert decode(Tensor, encode(raw)).encoding == ""


@pytest.mark.parametrize("array", [picture(4, 4, 4), picture(8), picture(0, 4), picture(4, 4).astype("float32")])
@pytest.mark.parametrize("encoding", PICTURES)
def test_what_is_no_picture_is_not_written_as_one(array, encoding: Name) -> None:
    with pytest.raises(Unfit, match=r"only uint8 \[h, w\], \[h, w, 1\] and \[h, w, 3\] are pictures"):
        pack(array, encoding)


@pytest.mark.parametrize("encoding", ["float16", "float16+gzip"])
def test_only_floats_are_halved_and_never_to_infinity(encoding: Name) -> None:
    with pytest.raises(Unfit, match="only float32 and float64 can be halved, not int32"):
        pack(np.zeros(2, "int32"), encoding)
    with pytest.raises(Unfit, match="beyond 65504"):
        pack(np.array([1.0, 70_000.0], "float32"), encoding)


def tensor(way: str, array: "np.ndarray[Any, Any] | None" = None, **claims: Any) -> Tensor:
    """A tensor that lies in some of its fields."""
    truth = pack(picture(4, 6, 3) if array is None else array, way if way in NAMES else "")
    return structs.replace(truth, **({"encoding": way} | claims))


FLOATS = np.arange(6, dtype="float32")
HALF = pack(FLOATS, "float16").data
BOMB = zlib.compress(bytes(200_000_000), wbits=31)

LIES_AT_ONCE = [
    (tensor("br"), "x.encoding 'br': not one of float16, gzip, float16+gzip, jpeg, png, webp"),
    (tensor("x" * 500), "x.encoding 'xxxx"),
    (tensor("gzip", dtype="object"), "x.dtype 'object'"),
    (tensor("float16", FLOATS, dtype="int32"), "x.encoding 'float16': only float32 and float64"),
    (tensor("float16", FLOATS, shape=(7,)), "x.data has 12 bytes, float16 of float32[7] has 14"),
    (tensor("float16", FLOATS, data=FLOATS.tobytes()), "x.data has 24 bytes, float16 of float32[6] has 12"),
    (tensor("gzip", data=b""), "x.data is no gzip: it begins with b''"),
    (tensor("gzip", data=picture(72).tobytes()), "x.data is no gzip: it begins with"),
    (tensor("gzip", shape=(4, 6, 4)), "x.data holds 72 bytes, its shape has 96"),
    (tensor("gzip", dtype="float64"), "x.data holds 72 bytes, its shape has 576"),
    (tensor("float16+gzip", FLOATS, encoding="gzip"), "x.data holds 12 bytes, its shape has 24"),
    (tensor("gzip", data=BOMB), "x.data holds 200000000 bytes, its shape has 72"),
    (tensor("gzip", data=BOMB, shape=(200_000_000,)), f"x.shape (200000000,): 200000000 bytes, at most {MOST_BYTES}"),
    (tensor("gzip", shape=(2**40, 2**40)), "x.shape (1099511627776, 1099511627776): "),
    (tensor("png", shape=(2**20, 2**20, 3)), "x.shape (1048576, 1048576, 3): "),
    (tensor("jpeg", shape=(72,)), "x.encoding 'jpeg': only uint8"),
    (tensor("jpeg", shape=(0, 6, 3)), "x.encoding 'jpeg': only uint8"),
    (tensor("jpeg", dtype="bool"), "x.encoding 'jpeg': only uint8"),
    (tensor("jpeg", encoding="png"), "x.data is no png: it begins with"),
    (tensor("png", encoding="webp"), "x.data is no webp: it begins with"),
]
"""What shows without inflating anything."""


@pytest.mark.parametrize(("lie", "text"), LIES_AT_ONCE)
def test_a_plain_lie_is_told_at_once(lie: Tensor, text: str) -> None:
    for judge in (check, unpack):
        with pytest.raises(BadPayload) as caught:
            judge(lie)
        assert str(caught.value).startswith(text)
        assert caught.value.newer is (lie.encoding not in NAMES)


def png(mode: str, size: tuple[int, int]) -> bytes:
    file = BytesIO()
    Image.new(mode, size).save(file, "png")
    return file.getvalue()


def forged(size: int) -> bytes:
    """A gzip bomb whose last bytes claim so little."""
    return BOMB[:-4] + size.to_bytes(4, "little")


WHOLE = {name: pack(picture(4, 6, 3), name).data for name in PICTURES}
LIES_WITHIN = [
    (tensor("gzip", data=forged(72)), "x.data is not 72 bytes in gzip"),
    (tensor("gzip", data=tensor("gzip").data[:-9] + tensor("gzip").data[-4:]), "x.data"),
    (tensor("gzip", data=b"\x1f\x8b\x08" + bytes(20) + (72).to_bytes(4, "little")), "x.data"),
    (tensor("png", shape=(6, 4, 3)), "x.data is a picture of RGB 4 x 6, x.shape is (6, 4, 3)"),
    (tensor("png", shape=(4, 6)), "x.data is a picture of RGB 4 x 6, x.shape is (4, 6)"),
    (tensor("png", data=png("RGBA", (6, 4))), "x.data is a picture of RGBA 4 x 6"),
    (tensor("png", data=png("I;16", (6, 4)), shape=(4, 6)), "x.data is a picture of I;16 4 x 6"),
    (tensor("png", data=png("1", (9000, 9000))), "x.data is a picture of 1 9000 x 9000"),
    (tensor("png", data=png("1", (20_000, 20_000))), "x.data: DecompressionBombError"),
    *[(tensor(name, data=data[: len(data) // 2]), "x.data") for name, data in WHOLE.items()],
    *[(tensor(name, data=data[:12]), "x.data: ") for name, data in WHOLE.items()],
]
"""What shows only to who decodes it."""


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("lie", "text"), LIES_WITHIN)
def test_a_lie_within_is_told_before_it_costs_memory(lie: Tensor, text: str) -> None:
    check(lie)
    tracemalloc.start()
    with pytest.raises(BadPayload) as caught:
        unpack(lie)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(caught.value).startswith(text)
    assert peak < 4_000_000


@pytest.mark.parametrize("encoding", ["gzip", "float16", "float16+gzip"])
def test_what_is_not_finite_is_found_behind_an_encoding_too(encoding: str) -> None:
    raw = np.array([1.0, np.nan], "float16" if encoding.startswith("float16") else "float32").tobytes()
    data = zlib.compress(raw, wbits=31) if encoding.endswith("gzip") else raw
    with pytest.raises(BadPayload, match="^x has nan at index 1$"):
        unpack(Tensor(dtype="float32", shape=(2,), data=data, encoding=encoding))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(NAMES[1:]), st.integers(0, 2**32))
def test_spoiled_bytes_are_an_array_of_that_kind_or_a_bad_payload(encoding: Name, number: int) -> None:
    random = Random(number)
    whole = pack(FLOATS if encoding.startswith("float16") else picture(4, 6, 3), encoding)
    data = bytearray(whole.data)
    for _ in range(random.choice((1, 1, 3, 9))):
        data[random.randrange(len(data))] = random.randrange(256)
    spoiled = structs.replace(whole, data=bytes(data[: random.choice((len(data), random.randrange(len(data)))) + 1]))
    try:
        array = unpack(spoiled)
    except BadPayload as error:
        assert str(error).startswith("x")
        assert len(str(error)) < 300
    else:
        assert (array.dtype.name, array.shape) == (whole.dtype, whole.shape)
