"""Detectors say where things are in half a dozen ways; boxes come out the same, and no box is a result too."""

import numpy as np
import pytest

from edge_agent.engines import outputs
from edge_agent.policies import ibt, threshold
from messages.models import Detection, FileTensor
from messages.shapes import Boxes

SAMPLE = (100, 200, 3)
CORNERS = np.array([[10, 20, 30, 40], [11, 21, 31, 41], [50, 60, 90, 80]], "float32")
SCORES = np.array([0.9, 0.8, 0.6], "float32")
LABELS = np.array([1, 1, 2], "float32")
ROWS = np.column_stack([CORNERS, SCORES, LABELS])[None]
BY_CLASS = np.array([[0, 0.9, 0], [0, 0.8, 0.1], [0.1, 0, 0.6]], "float32")
CENTRES = np.column_stack([(CORNERS[:, :2] + CORNERS[:, 2:]) / 2, CORNERS[:, 2:] - CORNERS[:, :2]])
FROM_CORNER = np.column_stack([CORNERS[:, :2], CENTRES[:, 2:]])
SIZE = np.array([200, 100, 200, 100])


def read(kind: Detection, *tensors: np.ndarray) -> Boxes:
    found = [FileTensor(dtype=t.dtype.name, shape=t.shape) for t in tensors]
    boxes = outputs.reader(kind, found, SAMPLE)(tensors)
    assert isinstance(boxes, Boxes)
    return boxes


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [
        (Detection(), [ROWS]),
        (Detection(columns="scores", transposed=True), [np.column_stack([CORNERS, BY_CLASS]).T[None]]),
        (Detection(columns="scores", corners="cxcywh"), [np.column_stack([CENTRES, BY_CLASS])[None]]),
        (Detection(corners="xywh", boxes=1, scores=0), [BY_CLASS[None], FROM_CORNER]),
        (
            Detection(corners="yxyx", unit="fractions", scores=2, labels=1, count=3),
            [(CORNERS / SIZE)[None, :, [1, 0, 3, 2]].astype("float32"), LABELS[None], SCORES[None], np.array([3.0])],
        ),
    ],
)  # fmt: skip
def test_five_ways_to_say_the_same(kind: Detection, tensors: list[np.ndarray]) -> None:
    boxes = read(kind, *tensors).boxes
    np.testing.assert_allclose([box.corners for box in boxes], CORNERS, rtol=1e-5)
    np.testing.assert_allclose([box.score for box in boxes], SCORES)
    assert [box.label for box in boxes] == [1, 1, 2]


def test_of_boxes_on_one_object_only_the_best_remains() -> None:
    assert [round(box.score, 3) for box in read(Detection(overlap=0.5), ROWS).boxes] == [0.9, 0.6]
    other = ROWS.copy()
    other[0, 1, 5] = 3
    assert len(read(Detection(overlap=0.5), other).boxes) == 3
    assert len(read(Detection(overlap=0.5, limit=1), ROWS).boxes) == 1


def test_an_empty_picture_has_no_boxes_and_the_rules_call_it_hard() -> None:
    for nothing in (read(Detection(threshold=0.95), ROWS), read(Detection(), np.zeros((1, 0, 6), "float32"))):
        assert nothing == Boxes(boxes=())
        assert threshold(0.5)(nothing).reason == ibt(0.5, 0.5)(nothing).reason == "no boxes"
    nan = ROWS.copy()
    nan[0, :, 4] = np.nan
    assert read(Detection(), nan) == Boxes(boxes=())


def test_raw_scores_become_shares_and_only_so_many_count() -> None:
    raw = ROWS.copy()
    raw[0, :, 4] = [2.0, 100.0, -2.0]
    assert [round(box.score, 2) for box in read(Detection(activation="sigmoid"), raw).boxes] == [1.0, 0.88]
    kind = Detection(scores=1, labels=2, count=3)
    assert len(read(kind, CORNERS[None], SCORES[None], LABELS[None], np.array([1.0])).boxes) == 1


@pytest.mark.parametrize(
    ("kind", "tensors", "words"),
    [
        (Detection(), [np.zeros((1, 5, 3), "float32")], r"boxes are \[1, 5, 3\]: a box has four corners or more"),
        (Detection(), [np.zeros((1, 5, 4), "float32")], "there are no scores behind the corners"),
        (Detection(scores=1, labels=2), [CORNERS, SCORES, LABELS[:2]], "3 boxes, 3 scores, 2 labels"),
        (Detection(scores=4), [ROWS], "output 4: the file has 1"),
    ],
)
def test_tensors_that_do_not_fit_are_named(kind: Detection, tensors: list[np.ndarray], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(kind, *tensors)


@pytest.mark.parametrize("corners", ["cxcywh", "xyxy", "yxyx"])
def test_boxes_may_be_counted_from_the_middles_of_cells(corners: str) -> None:
    """Two grids on a picture of 100 x 200: 2 x 4 cells with a box each, and 1 x 2 with two."""
    rows = np.zeros((12, 5), "float32")
    rows[6, :] = [1, 2, 10, 20, 0.9]  # the cell in the second row and third column: its middle is (125, 75)
    rows[11, :] = [0, 0, 4, 4, 0.8]  # the last box of the last cell, whose middle is (150, 50)
    if corners == "yxyx":
        rows[:, :4] = rows[:, [1, 0, 3, 2]]
    kind = Detection(corners=corners, cells=((50, 1), (100, 2)))  # type: ignore[arg-type]  # a parameter
    found = [box.corners for box in read(kind, rows[None]).boxes]
    if corners == "cxcywh":
        assert found == [(121.0, 67.0, 131.0, 87.0), (148.0, 48.0, 152.0, 52.0)]
    else:
        assert found == [(126.0, 77.0, 135.0, 95.0), (150.0, 50.0, 154.0, 54.0)]
    with pytest.raises(ValueError, match="3 boxes for 12 cells"):
        read(kind, ROWS)
