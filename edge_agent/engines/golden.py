"""Golden samples: what a model must say of them, so that another file, runtime or machine shows."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from edge_agent.engines.protocol import Engine, ModelError
from edge_agent.values import as_value
from messages import npz_file
from messages.models import Golden, Report
from messages.shapes import Boxes, Classes, Embedding, Scalar, Tensor
from messages.tensors import pack

Array = np.ndarray[Any, Any]


def beside(model: Path) -> Path:
    """Where the golden samples of a model file lie."""
    return model.with_name(f"{model.name}.golden.npz")


def row(output: Any) -> list[float]:
    """A result's numbers: probabilities, one number, a vector, or x1, y1, x2, y2, score, label of each box."""
    match as_value(output):
        case Classes(probs=numbers) | Embedding(vector=numbers):
            return list(numbers)
        case Scalar(scalar=scalar):
            return [scalar]
        case Boxes(boxes=boxes):
            return [number for box in boxes for number in (*box.corners, box.score, box.label)]
    return []


def table(rows: list[list[float]]) -> Array:
    """Rows of numbers as one float32 array, filled up with NaN."""
    out = np.full((len(rows), max(map(len, rows), default=0)), np.nan, "float32")
    for number, numbers in enumerate(rows):
        out[number, : len(numbers)] = numbers
    return out


def results(engine: Engine, file: Path) -> Tensor:
    """What an engine says of each sample of an .npz file's `x`, a row each. Raises ModelError."""
    return pack(table([row(engine.predict(x)) for x in _samples(_arrays(file), engine, file)]))


def compare(report: Report, engine: Engine, golden: Golden, file: Path) -> Report:
    """The report with what came of the golden samples. Raises ModelError when too many came out otherwise."""
    raw = file.read_bytes()
    if sha256(raw).hexdigest() != golden.sha256:
        raise ModelError(f"its golden samples {file} are not those of its description")
    arrays = _arrays(file)
    expected, x = arrays.get("y", np.zeros((0, 0))), _samples(arrays, engine, file)
    if expected.ndim != 2 or len(expected) != len(x):
        raise ModelError(f"golden samples {file}: y is {list(expected.shape)}, x is {list(x.shape)}")
    rows = [row(engine.predict(sample)) for sample in x]
    found = table(rows)
    if found.shape != expected.shape:
        width = max(found.shape[1], expected.shape[1])
        found, expected = _widened(found, width), _widened(expected, width)
    same = np.isclose(found, expected, rtol=golden.tolerance, atol=golden.tolerance, equal_nan=True).all(1)
    apart = float(np.nan_to_num(np.abs(found - expected), nan=0.0).max(initial=0.0))
    others = len(rows) - int(np.count_nonzero(same))
    agreement = 1 - others / len(rows)
    if agreement < golden.agreement:
        raise ModelError(f"gives other results for {others} of {len(rows)} golden samples, up to {apart:.3g} apart")
    return structs.replace(report, agreement=agreement, apart=apart)


def _widened(rows: Array, width: int) -> Array:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=np.nan)


def _arrays(file: Path) -> npz_file.Arrays:
    try:
        return npz_file.read(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"samples {file}: {error}") from error


def _samples(arrays: npz_file.Arrays, engine: Engine, file: Path) -> Array:
    x, takes = arrays.get("x"), engine.input
    if x is None or not len(x) or x.dtype.name != takes.dtype or x.shape[1:] != takes.shape:
        found = "nothing" if x is None else f"{x.dtype.name}{list(x.shape)}"
        raise ModelError(f"samples {file}: x is {found}, the model takes {takes} each")
    return x
