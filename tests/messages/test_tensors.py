"""Arrays travel unchanged, and no claim of a sender is believed."""

from math import inf, nan

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from messages.codec import BadPayload, Format, decode, encode
from messages.shapes import Tensor
from messages.tensors import DTYPES, cast, check, from_lists, pack, unpack


@given(st.data(), st.sampled_from(DTYPES), st.booleans(), st.sampled_from(Format))
def test_an_array_comes_back_as_it_was(data: st.DataObject, dtype: str, big: bool, form: Format) -> None:
    kind = np.dtype(dtype).newbyteorder(">" if big else "<")
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    finite = {"allow_nan": False, "allow_infinity": False} if kind.kind == "f" else None
    array = data.draw(arrays.arrays(kind, shape, elements=finite))
    tensor = decode(Tensor, encode(pack(array), form))
    back = unpack(tensor)
    assert (back.dtype.name, back.shape) == (dtype, shape)
    assert np.array_equal(back, array)
    assert not back.flags.writeable


def test_a_view_that_is_not_contiguous_travels_too() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2].T
    assert np.array_equal(unpack(pack(array)), array)


@pytest.mark.parametrize("dtype", ["complex64", "object", "datetime64[s]", "U3"])
def test_other_dtypes_do_not_travel(dtype: str) -> None:
    with pytest.raises(ValueError, match="only float32"):
        pack(np.zeros(2, dtype=dtype))


TOO_LONG = "x.shape (1, 1, 1, 1, 1, 1, 1, 1, 1): at most 8 sizes, none negative"


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor(dtype="object", shape=(1,), data=bytes(8)), "x.dtype 'object': not one of float32"),
        (Tensor(dtype="O" * 500, shape=(1,), data=bytes(8)), "x.dtype 'OOOO"),
        (Tensor(dtype="uint8", shape=(1,) * 9, data=b"x"), TOO_LONG),
        (Tensor(dtype="uint8", shape=(-1, -4), data=bytes(4)), "x.shape (-1, -4): at most 8 sizes, none negative"),
        (Tensor(dtype="float32", shape=(2, 2), data=bytes(15)), "x.data has 15 bytes, float32[2, 2] has 16"),
        (Tensor(dtype="uint8", shape=(2**40, 2**40), data=b""), "x.data has 0 bytes"),
        (Tensor(dtype="uint8", shape=(0, 2**50, 2**50), data=b""), "x.shape (0, "),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_a_bad_payload(tensor: Tensor, text: str) -> None:
    with pytest.raises(BadPayload) as caught:
        unpack(tensor)
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_a_bad_payload_with_its_place(dtype: str, value: float) -> None:
    array = np.zeros((2, 3), dtype=dtype)
    array[1, 1] = value
    with pytest.raises(BadPayload, match="^x has (nan|inf|-inf) at index 4$"):
        unpack(pack(array))


def test_the_check_needs_no_numpy() -> None:
    check(Tensor(dtype="bool", shape=(3,), data=b"\x00\x01\x01"))
    with pytest.raises(BadPayload, match="4 bytes, bool"):
        check(Tensor(dtype="bool", shape=(3,), data=bytes(4)))


@given(st.data(), st.sampled_from(DTYPES))
def test_nested_lists_are_read_as_the_array_that_they_were(data: st.DataObject, dtype: str) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=4, max_side=4))
    finite = {"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else None
    array = data.draw(arrays.arrays(np.dtype(dtype), shape, elements=finite))
    back = from_lists(array.tolist(), dtype)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


@pytest.mark.parametrize(
    ("rows", "dtype", "said"),
    [
        ([1, "0.5"], "float32", "x[1] is '0.5': not a number"),
        ([[1.0], [None]], "float32", "x[1][0] is None: not a number"),
        ([True], "float32", "x[0] is True: not a number"),
        (["yes"], "bool", "x[0] is 'yes': not a number"),
        ("abc", "float32", "x is 'abc': not a number"),
        ([{"a": 1}], "float32", "x[0] is {'a': 1}: not a number"),
        ([[1, 2], [3]], "float32", "inhomogeneous"),
        ([300], "uint8", "x holds a number that uint8 cannot hold"),
        ([0.5], "int32", "x holds a number that int32 cannot hold"),
        ([1e39], "float32", "x holds a number that float32 cannot hold"),
        ([float("nan")], "float32", "x holds a number that float32 cannot hold"),
        ([10**30], "int64", "too large"),
        ([[[[[[[[[1]]]]]]]]], "float32", "nested more than 8 deep"),
    ],
)
def test_lists_that_are_no_array_are_named(rows: object, dtype: str, said: str) -> None:
    with pytest.raises(BadPayload) as error:
        from_lists(rows, dtype)
    assert said in str(error.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16"])
@pytest.mark.parametrize("number", [nan, inf, 1e300, -1e300, 10**40])
def test_a_number_that_does_not_fit_is_refused_without_a_warning(number: float, dtype: str) -> None:
    with pytest.raises(BadPayload, match=f"{dtype} cannot hold|too large"):
        from_lists([number], dtype)


@pytest.mark.parametrize("array", [np.array(["1"]), np.array([1j]), np.array(["2026"], "datetime64[Y]")])
def test_arrays_of_other_things_than_numbers_are_named(array) -> None:
    with pytest.raises(BadPayload, match=f"x holds {array.dtype.name}: not numbers".replace("[", r"\[")):
        cast(array, "float32")
