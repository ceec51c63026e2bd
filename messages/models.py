"""What a model file takes and gives: its description, which lies beside the file or travels in its release.

A description is data: it names neither code nor paths, and what it says of the file is held against the file when that
is loaded. `digits.tflite` is described by `digits.tflite.json`.
"""

from pathlib import Path
from sys import float_info
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from messages.shapes import Finite, Tensor
from messages.tensors import MOST_AXES

MAX_DESCRIPTION: Final = 65_536
"""Bytes of a description as JSON."""

Dtype = Literal[
    "float32", "float64", "float16", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "bool"
]  # fmt: skip
Size = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Shape = Annotated[tuple[Size, ...], Meta(max_length=MOST_AXES)]
Index = Annotated[int, Meta(ge=0, le=255)]
"""Which of a file's outputs, in the file's own order."""
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Names = Annotated[tuple[Annotated[str, Meta(max_length=100)], ...], Meta(max_length=10_000)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

Format = Literal["npz", "safetensors", "tflite", "onnx"]
"""What a model file may be. Pickles, joblib, SavedModel and torch's own archives can run code: they are no formats."""

FORMATS: Final[dict[str, Format]] = {
    ".npz": "npz", ".safetensors": "safetensors", ".tflite": "tflite", ".onnx": "onnx",
}  # fmt: skip
"""A file's format by its suffix."""


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts have in common: a key that is not known is an error, and defaults are not written."""


class BadDescription(ValueError):
    """A description that cannot be used, or a file that has another format. The text names the file and the field."""


class Quantised(_Part, frozen=True, kw_only=True):
    """How whole numbers stand for real ones: real = scale * (whole - zero_point)."""

    scale: Annotated[float, Meta(gt=0.0, le=float_info.max)]
    zero_point: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0


class FileTensor(_Part, frozen=True, kw_only=True):
    """An input or output as it stands in the file: its shape has the batch axis, and -1 where a size is left open.

    `dtype` is NumPy's name, or the runtime's own for what NumPy does not have.
    """

    name: str = ""
    dtype: str
    shape: tuple[int, ...]
    quantised: Quantised | None = None


class Input(_Part, frozen=True, kw_only=True):
    """A sample as sources give it, and how it becomes the file's tensor.

    `dtype` and `shape` are the sample's, without a batch axis; a picture is (height, width) or (height, width,
    channels). `layout` says how the file wants a picture; without it the numbers go in as they lie. Numbers are
    multiplied by `scale`, then `offset` is added (one for all or one for each channel), then they are quantised where
    the file's tensor is. `tensor` is that tensor, where its file has been read. Raises ValueError naming the field.
    """

    dtype: Dtype = "float32"
    shape: Shape
    layout: Literal["", "NHWC", "NCHW"] = ""
    scale: Finite | tuple[Finite, ...] = 1.0
    offset: Finite | tuple[Finite, ...] = 0.0
    tensor: FileTensor | None = None

    def __post_init__(self) -> None:
        if self.layout and len(self.shape) not in (2, 3):
            raise ValueError(f"layout {self.layout}: a picture has 2 or 3 axes, the shape is {list(self.shape)}")
        channels = self.shape[-1] if len(self.shape) > 1 else 0
        for field in ("scale", "offset"):
            given = getattr(self, field)
            if isinstance(given, tuple) and len(given) != channels:
                raise ValueError(f"{field} has {len(given)} numbers for {channels} channels: the last axis of shape")

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """What the file's tensor is expected to be, without its batch axis."""
        if not self.layout:
            return self.shape
        height, width, channels = (*self.shape, 1)[:3]
        return (height, width, channels) if self.layout == "NHWC" else (channels, height, width)


class _Output(_Part, frozen=True, kw_only=True, tag_field="kind"):
    """An output by its kind. `tensors` are what the file gives, where it has been read."""

    tensors: tuple[FileTensor, ...] = ()


class Classification(_Output, frozen=True, kw_only=True, tag="classification"):
    """Class probabilities. `activation` makes them of what the file gives; with sigmoid that is one number for yes."""

    classes: Names = ()
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    tensor: Index = 0


class Detection(_Output, frozen=True, kw_only=True, tag="detection"):
    """Boxes, from one tensor or several; none is a result too.

    `boxes` is the tensor (n, 4 or more) with `corners` in the order that they say, in pixels of the sample or as
    fractions of its size; `transposed`: (4 or more, n). Scores are in a tensor `scores` (n) or (n, classes), or
    else in the columns behind the corners: a score and a label, or a score for each class. `labels` is a tensor of
    class indices, `count` one with the number of boxes that count. With `cells` (a stride in pixels, and how many
    boxes each cell of that grid has) corners are counted from the middles of the cells, row by row, as SSD and
    BlazeFace do. Boxes below `threshold` are left out, and with `overlap` those that a better one of their class
    covers by more than that (intersection over union); at most `limit` remain.
    """

    boxes: Index = 0
    corners: Literal["xyxy", "yxyx", "xywh", "cxcywh"] = "xyxy"
    unit: Literal["pixels", "fractions"] = "pixels"
    transposed: bool = False
    cells: Annotated[tuple[tuple[Size, Size], ...], Meta(max_length=16)] = ()
    scores: Index | None = None
    columns: Literal["score+label", "scores"] = "score+label"
    labels: Index | None = None
    count: Index | None = None
    activation: Literal["none", "sigmoid"] = "none"
    threshold: Share = 0.5
    overlap: Share | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100
    classes: Names = ()


class Regression(_Output, frozen=True, kw_only=True, tag="regression"):
    """One number: what the file gives times `scale` plus `offset`, in `unit` (a word for people)."""

    scale: Finite = 1.0
    offset: Finite = 0.0
    unit: str = ""
    tensor: Index = 0


class Embedding(_Output, frozen=True, kw_only=True, tag="embedding"):
    """A vector that stands for the sample; `normalised` makes its length one."""

    normalised: bool = False
    tensor: Index = 0


Output = Classification | Detection | Regression | Embedding


class Golden(_Part, frozen=True, kw_only=True):
    """Samples with the results that are expected: an .npz file, by its SHA-256.

    `x` is (n, *shape) of the input's dtype, `y` (n, numbers): probabilities, a vector, one number, or for boxes x1, y1,
    x2, y2, score, label each, filled up with NaN. Results may differ by `tolerance`, absolute and relative, and that in
    all but a share of 1 - `agreement` of the samples.
    """

    sha256: Sha256
    tolerance: Annotated[float, Meta(ge=0.0, le=1e6)] = 1e-3
    agreement: Share = 1.0


class Description(_Part, frozen=True, kw_only=True):
    """All of a model but its weights. `framework` says, for people, what made the file.

    `threads` and `warm_up` (calls before the first sample) are for the runtime.
    """

    format: Format
    input: Input
    output: Output
    framework: Annotated[str, Meta(max_length=200)] = ""
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    warm_up: Annotated[int, Meta(ge=0, le=100)] = 1
    golden: Golden | None = None


class Report(Struct, frozen=True, kw_only=True):
    """What came of a model file that was loaded and run once, in a process of its own.

    `reason` is empty when it can be used; otherwise it names the file and what is wrong. `input` and `outputs` are what
    the file itself says, `call_us` is the median time of a call, `agreement` the share of golden samples that came out
    as expected and `apart` the largest difference. `results` are those of the samples that were asked for, a row each.
    """

    sha256: str = ""
    size: int = 0
    reason: str = ""
    runtime: str = ""
    input: FileTensor | None = None
    outputs: tuple[FileTensor, ...] = ()
    load_ms: float = 0.0
    call_us: float = 0.0
    peak_mb: float = 0.0
    agreement: float | None = None
    apart: float = 0.0
    results: Tensor | None = None


def beside(model: Path) -> Path:
    """Where the description of a model file lies."""
    return model.with_name(f"{model.name}.json")


def format_of(model: Path) -> Format:
    """A file's format by its suffix. Raises BadDescription."""
    if model.suffix not in FORMATS:
        raise BadDescription(f"model {model}: no engine for {model.suffix!r}; use {', '.join(FORMATS)}")
    return FORMATS[model.suffix]


def read(raw: bytes, place: str) -> Description:
    """A description from JSON; `place` is how errors call it. Raises BadDescription with the path of what is wrong."""
    if len(raw) > MAX_DESCRIPTION:
        raise BadDescription(f"{place}: {len(raw)} bytes, at most {MAX_DESCRIPTION}")
    try:
        return msgspec.json.decode(raw, type=Description)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadDescription(f"{place}: {error}") from error


def write(description: Description) -> bytes:
    """A description as JSON for people: indented, what is left at its default left out."""
    return msgspec.json.format(msgspec.json.encode(description), indent=1) + b"\n"
