"""What an engine or a policy is handed, as one of the `Value` shapes. Works without NumPy: arrays give a `tolist`."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from messages.shapes import Box, Boxes, Classes, Embedding, Scalar, Text, Value


def as_value(output: Any) -> Value:
    """An engine's output as a `Value`: a number is a `Scalar`, text a `Text`, one row of numbers are `Classes`.

    NaN is passed on, so that the policy sees it. Boxes have no common array layout: engines return `Boxes` themselves.
    Raises ValueError for anything else.
    """
    if isinstance(output, Value):
        return output
    plain = output.tolist() if hasattr(output, "tolist") else output
    if isinstance(plain, str):
        return Text(text=plain)
    if isinstance(plain, int | float):
        return Scalar(scalar=float(plain))
    if _is_row(plain) and len(plain) == 1 and _is_row(plain[0]):
        plain = plain[0]
    if not _is_row(plain) or any(_is_row(item) or isinstance(item, str) for item in plain):
        raise ValueError(f"output is {_described(output)}: return one row of class probabilities, a number or a Value")
    return Classes(probs=tuple(map(float, plain)))


def is_finite(value: Value) -> bool:
    """Does a result hold no NaN and no infinity? JSON has no word for them."""
    if isinstance(value, Classes):
        return all(map(isfinite, value.probs))
    if isinstance(value, Boxes):
        return all(map(isfinite, (n for box in value.boxes for n in (*box.corners, box.score))))
    if isinstance(value, Embedding) and not all(map(isfinite, value.vector)):
        return False
    return isfinite(value.scalar if isinstance(value, Scalar) else 0.0) and isfinite(value.confidence or 0.0)


def as_boxes(rows: Any) -> Boxes:
    """Detections as rows `[x1, y1, x2, y2, score, label?]`, the layout that Sedna's examples use."""
    plain = rows.tolist() if hasattr(rows, "tolist") else rows
    return Boxes(boxes=tuple(_box(row) for row in plain))


def _box(row: Sequence[float]) -> Box:
    if not _is_row(row) or len(row) < 5:
        raise ValueError(f"box {row!r}: not x1, y1, x2, y2, score")
    x1, y1, x2, y2, score = map(float, row[:5])
    return Box(corners=(x1, y1, x2, y2), score=score, label=int(row[5]) if len(row) > 5 else 0)


def _is_row(item: object) -> bool:
    return isinstance(item, list | tuple)


def _described(output: object) -> str:
    shape = getattr(output, "shape", None)
    return f"an array of shape {tuple(shape)}" if shape is not None else f"{type(output).__name__} {str(output)[:60]!r}"
