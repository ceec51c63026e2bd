"""A model's description says what its file takes and gives; what is wrong with it is named by its field."""

import json
from pathlib import Path

import pytest

from messages import models
from messages.models import BadDescription, Classification, Description, Detection, FileTensor, Input, Quantised

DIGITS = Description(
    format="tflite",
    framework="torch 2.13, litert-torch 0.10",
    input=Input(
        dtype="uint8", shape=(8, 8), layout="NHWC", scale=1 / 16,
        tensor=FileTensor(name="x", dtype="int8", shape=(1, 8, 8, 1), quantised=Quantised(scale=0.1, zero_point=-8)),
    ),
    output=Classification(classes=tuple("0123456789"), activation="softmax"),
    golden=models.Golden(sha256="0" * 64),
)  # fmt: skip


def text(**changed: object) -> bytes:
    return json.dumps(json.loads(models.write(DIGITS)) | changed).encode()


def test_what_is_written_is_read_again_and_defaults_are_not_written() -> None:
    assert models.read(models.write(DIGITS), "d.json") == DIGITS
    assert b"warm_up" not in models.write(DIGITS)
    boxes = Description(format="onnx", input=Input(shape=(9, 9, 3)), output=Detection(overlap=0.5))
    assert models.read(models.write(boxes), "d.json") == boxes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"format": "pickle"}, "Invalid enum value 'pickle' - at `$.format`"),
        ({"module": "os:system"}, "Object contains unknown field `module`"),
        ({"threads": 0}, "Expected `int` >= 1 - at `$.threads`"),
        ({"output": {"kind": "guess"}}, "Invalid value 'guess' - at `$.output.kind`"),
        ({"output": {"kind": "detection", "threshold": 2}}, "Expected `float` <= 1.0 - at `$.output.threshold`"),
        ({"output": {"kind": "classification", "treshold": 0.5}}, "unknown field `treshold` - at `$.output`"),
        ({"input": {"shape": [0]}}, "Expected `int` >= 1 - at `$.input.shape[0]`"),
        ({"input": {"shape": [4], "layout": "NCHW"}}, "layout NCHW: a picture has 2 or 3 axes, the shape is [4]"),
        ({"input": {"shape": [8, 8, 3], "scale": [1, 2]}}, "scale has 2 numbers for 3 channels"),
        ({"input": {"shape": [4], "offset": [1]}}, "offset has 1 numbers for 0 channels"),
        ({"input": {"shape": [1] * 9}}, "Expected `array` of length <= 8"),
        ({"golden": {"sha256": "../x"}}, "at `$.golden.sha256`"),
        ({"framework": "x" * 70_000}, "bytes, at most 65536"),
    ],
)
def test_a_wrong_field_is_named(changed: dict[str, object], words: str) -> None:
    with pytest.raises(BadDescription) as caught:
        models.read(text(**changed), "d.tflite.json")
    assert str(caught.value).startswith("d.tflite.json: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"\x80\x04\x95", b"[" * 60_000, b"\xff{}", b"{}"])
def test_what_is_no_description_is_refused(raw: bytes) -> None:
    with pytest.raises(BadDescription, match="d.json: "):
        models.read(raw, "d.json")


def test_a_picture_is_laid_out_as_the_file_wants_it() -> None:
    assert Input(shape=(8, 9, 3), layout="NCHW").tensor_shape == (3, 8, 9)
    assert Input(shape=(8, 9), layout="NCHW").tensor_shape == (1, 8, 9)
    assert Input(shape=(8, 9), layout="NHWC").tensor_shape == (8, 9, 1)
    assert Input(shape=(8, 9)).tensor_shape == (8, 9)


def test_the_suffix_says_the_format_and_where_the_description_lies() -> None:
    assert models.format_of(Path("a/m.onnx")) == "onnx"
    assert models.beside(Path("a/m.onnx")) == Path("a/m.onnx.json")
    with pytest.raises(BadDescription, match=r"no engine for '\.pkl'; use \.npz, \.safetensors, \.tflite, \.onnx"):
        models.format_of(Path("m.pkl"))
