"""A policy's network and gate on one sample: what `messages.offload.score` computes of a batch, in few steps.

A decision is made for every sample, and of one so small most is what it costs to call NumPy. So all is laid out when a
policy is adopted: network and gate are one product of a row that lies ready, and what is short is done without NumPy.
"""

from collections.abc import Callable, Sequence
from math import exp, log, nan, prod, sqrt, tanh
from struct import Struct
from typing import Any, Final

import numpy as np

from messages.offload import features, score
from messages.offload.features import Array
from messages.offload.shapes import Gate, Network, Pool

Forward = Callable[[Sequence[float] | None, Any], tuple[float, float]]
"""From the edge's probabilities (classes,) and the sample to its score and its distance, NaN where there is none.

There is no score without probabilities or of other numbers, and neither where the sample is not what is pooled.
"""

_FLOAT: Final = np.dtype(np.float32)
_TINY: Final = features.TINY
_LOG_TINY: Final = log(_TINY)
_maximum: Final = np.maximum


def forward(network: Network | None, gate: Gate | None, pool: Pool | None) -> Forward:
    """Both as one function, which keeps what it works on: for one thread. Raises ValueError that says what is wrong.

    Its row is `numbers | cells | 1`; the first matrix makes of it `units | 1 | directions`, for biases are weights of
    the 1.
    """
    cells, numbers = 0 if pool is None else prod(pool.grid), 0 if network is None else features.width(network.classes)
    row = np.ones(numbers + cells + 1, _FLOAT)
    row[:numbers] = 0.0  # till there are probabilities, the gate must not see what is no number
    take, read = _taker(pool, row[numbers:-1]), _reader(network, row)
    first, *others = [np.empty((len(row), 0), _FLOAT)] if network is None else _stacked(network, cells)
    matrix = np.hstack([first, _directions(gate, numbers, cells)])
    out = np.empty(matrix.shape[1], _FLOAT)
    units, away = out[: first.shape[1]], out[first.shape[1] :]
    layers = [(weights, np.zeros(len(weights), _FLOAT), np.empty(weights.shape[1], _FLOAT)) for weights in others]

    def judge(p: Sequence[float] | None, x: Any) -> tuple[float, float]:
        if not take(x):
            return nan, nan
        chosen = -1 if p is None else read(p)
        row.dot(matrix, out)
        far = sqrt(away.dot(away))
        if chosen < 0:
            return nan, far
        flow = units
        for weights, zeros, result in layers:
            _maximum(flow, zeros, out=flow)
            flow.dot(weights, result)
            flow = result
        return _gain(flow.tolist(), chosen), far

    return judge


def _reader(network: Network | None, row: Array) -> Callable[[Sequence[float]], int]:
    """A function that writes what `features.of_classes` gives and returns the likeliest class; -1 for bad numbers."""
    if network is None:
        return lambda _: -1
    few = network.classes <= features.MOST_CLASSES
    write, numbers = Struct(f"{features.width(network.classes)}f").pack_into, row.data

    def read(p: Sequence[float]) -> int:
        ordered = sorted(p)
        most = ordered[-1]
        if not features.are_probabilities(sum(p), ordered[0], most):
            return -1
        top = ordered[-features.TOP :]
        if few:
            write(numbers, 0, *top, most - ordered[-2], *p, *[log(q) if q > _TINY else _LOG_TINY for q in p])
        else:
            write(numbers, 0, *top, most - ordered[-2])
        return p.index(most)

    return read


def _taker(pool: Pool | None, out: Array) -> Callable[[Any], bool]:
    """A function that pools a sample into `out` (cells,), or says that it cannot. Without a pool any sample will do."""
    if pool is None:
        return lambda _: True
    shape, flat, (left, right) = pool.shape, len(pool.shape) == 2, features.averages(pool)
    columns, cells = np.empty((shape[0], right.shape[1]), _FLOAT), out.reshape(len(left), -1)

    def take(x: Any) -> bool:
        if not isinstance(x, np.ndarray) or x.shape != shape:
            return False
        if x.dtype is not _FLOAT:
            if x.dtype.kind not in "fiub":
                return False
            x = x.astype(_FLOAT)
        (x if flat else x.reshape(shape[0], -1)).dot(right, columns)
        left.dot(columns, cells)
        return True

    return take


def _gain(outputs: list[float], chosen: int) -> float:
    """What a network's last layer says, as `score.scorer` does; `chosen` is the edge's class."""
    if len(outputs) == 1:
        return outputs[0]
    cloud = 0.5 + 0.5 * tanh(0.5 * outputs[0])
    if len(outputs) == 2:
        return cloud - (0.5 + 0.5 * tanh(0.5 * outputs[1]))
    own = outputs[1 + chosen]
    try:
        return cloud - 1.0 / sum([exp(logit - own) for logit in outputs[1:]])
    except OverflowError:  # as good as impossible
        return cloud


def _stacked(network: Network, cells: int) -> list[Array]:
    """Each layer as one matrix: the bias is its last row, and all but the last hand the 1 on in their last column."""
    found, layers = [], score.layers(network)
    if network.cells not in (0, cells):
        raise ValueError(f"score: sees {network.cells} cells, the pool gives {cells}")
    rows = features.width(network.classes) + cells + 1
    for number, (weights, bias) in enumerate(layers, 1):
        unseen = np.zeros((rows - 1 - len(weights), len(bias)), _FLOAT)
        matrix = np.vstack([weights, unseen, bias])
        if number < len(layers):
            matrix = np.hstack([matrix, np.eye(rows, 1, 1 - rows, _FLOAT)])
        found.append(matrix)
        rows = matrix.shape[1]
    return found


def _directions(gate: Gate | None, numbers: int, cells: int) -> Array:
    """The gate as columns for the whole row; no column where there is none."""
    if gate is None:
        return np.empty((numbers + cells + 1, 0), _FLOAT)
    whiten, offset = score.whitening(gate)
    if not cells:
        raise ValueError("gate: there is no pool")
    if len(whiten) != cells:
        raise ValueError(f"gate: sees {len(whiten)} cells, the pool gives {cells}")
    return np.vstack([np.zeros((numbers, whiten.shape[1]), _FLOAT), whiten, -offset])
