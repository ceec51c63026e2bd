"""From a detector's tensors to boxes: scores, corners, and of several on one object only the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from messages.models import Detection
from messages.shapes import Box, Boxes

Array = np.ndarray[Any, Any]


def used(gives: Detection) -> set[int]:
    """Which of the file's outputs are read."""
    return {i for i in (gives.boxes, gives.scores, gives.labels, gives.count) if i is not None}


def middles(cells: Sequence[tuple[int, int]], height: int, width: int) -> Array:
    """The middle of the cell (x, y) that each box belongs to, in pixels."""
    found = []
    for stride, boxes in cells:
        y, x = np.mgrid[stride / 2 : height : stride, stride / 2 : width : stride]
        found.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), boxes, axis=0))
    return np.concatenate(found).astype("float32")


def read(gives: Detection, found: Mapping[int, Array], size: tuple[float, float], middle: Array | None) -> Boxes:
    """Boxes, best first; corners are multiplied by `size` (x, y), and with `middle` counted from there.

    Raises ValueError when the tensors do not fit.
    """
    rows = _table(found[gives.boxes], transposed=gives.transposed)
    if middle is not None:
        rows = _moved(rows, middle, gives.corners)
    scores, labels = _scores(gives, found, rows)
    if not len(rows) == len(scores) == len(labels):
        raise ValueError(f"{len(rows)} boxes, {len(scores)} scores, {len(labels)} labels")
    if gives.count is not None:
        scores = scores[: int(found[gives.count].reshape(-1)[0])]
    kept = np.flatnonzero(scores >= gives.threshold)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    corners = _corners(rows[kept, :4], gives.corners) * np.array([*size, *size], "float32")
    if gives.overlap is not None:
        best = _apart(corners, labels[kept], gives.overlap, gives.limit)
        kept, corners = kept[best], corners[best]
    kept = kept[: gives.limit]
    return Boxes(boxes=tuple(map(_box, corners.tolist(), scores[kept].tolist(), labels[kept].tolist())))


def _moved(rows: Array, middle: Array, order: str) -> Array:
    if len(rows) != len(middle):
        raise ValueError(f"{len(rows)} boxes for {len(middle)} cells")
    rows = rows.copy()
    rows[:, :2] += middle[:, ::-1] if order == "yxyx" else middle
    if order in ("xyxy", "yxyx"):
        rows[:, 2:4] += middle[:, ::-1] if order == "yxyx" else middle
    return rows


def _table(tensor: Array, *, transposed: bool = False) -> Array:
    """A tensor without its batch axis, a row for each box."""
    table = tensor.reshape(tensor.shape[-2:]) if tensor.ndim > 1 else tensor.reshape(1, -1)
    table = table.T if transposed else table
    if table.shape[1] < 4:
        raise ValueError(f"boxes are {list(tensor.shape)}: a box has four corners or more")
    return table


def _scores(gives: Detection, found: Mapping[int, Array], rows: Array) -> tuple[Array, Array]:
    if gives.scores is not None:
        table = found[gives.scores].reshape(len(rows), -1)
    elif gives.columns == "scores":
        table = rows[:, 4:]
    else:
        table = rows[:, 4:5]
    if not table.shape[1]:
        raise ValueError(f"boxes are {list(rows.shape)}: there are no scores behind the corners")
    labels = table.argmax(1)
    scores = table[np.arange(len(table)), labels]
    if gives.labels is not None:
        labels = found[gives.labels].reshape(-1)
    elif gives.scores is None and gives.columns == "score+label" and rows.shape[1] > 5:
        labels = rows[:, 5]
    if gives.activation == "sigmoid":
        scores = 1 / (1 + np.exp(-np.clip(scores, -80, 80)))
    return scores, labels


def _corners(boxes: Array, order: str) -> Array:
    """Corners as x1, y1, x2, y2."""
    if order == "xyxy":
        return boxes
    if order == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    start, size = boxes[:, :2], boxes[:, 2:]
    start = start - size / 2 if order == "cxcywh" else start
    return np.concatenate([start, start + size], 1)


def _apart(corners: Array, labels: Array, overlap: float, limit: int) -> list[int]:
    """Which boxes remain, best first, when each takes away those of its class that it covers too much of."""
    area = np.maximum(corners[:, 2:] - corners[:, :2], 0).prod(1)
    left = np.arange(len(corners))
    kept: list[int] = []
    while len(left) and len(kept) < limit:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        low, high = np.maximum(corners[best, :2], corners[left, :2]), np.minimum(corners[best, 2:], corners[left, 2:])
        shared = np.maximum(high - low, 0).prod(1)
        union = area[best] + area[left] - shared
        left = left[(shared <= overlap * union) | (labels[left] != labels[best])]
    return kept


def _box(corners: list[float], score: float, label: float) -> Box:
    x1, y1, x2, y2 = corners
    return Box(corners=(x1, y1, x2, y2), score=score, label=max(0, int(label)))
