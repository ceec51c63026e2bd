"""Scores that are learnt: P(cloud right) - P(edge right), as small networks that an agent runs with NumPy alone."""

import warnings
from typing import Final

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from cloud_hub.calibration.arrays import small
from cloud_hub.calibration.rows import Rows
from messages.offload import features
from messages.offload.features import Array
from messages.offload.shapes import Layer, Network
from messages.tensors import pack, unpack

LEAST_SPREAD: Final = 0.05
"""What hardly moves in calibration counts as moving by this share of what moves most, or its noise would drown all."""

EPOCHS: Final = 60
DECAY: Final = 1.0

Weights = tuple[Array, Array]
"""Of a layer: (inputs, units) and (units,)."""


def logistic(rows: Rows, seed: int) -> Network:
    """Two logistic regressions, for the cloud and for the edge being right."""
    inputs, move, spread = _standard(rows)
    heads = [_head(inputs, right, seed) for right in (rows.cloud_right, rows.edge_right)]
    weights = np.stack([weight for weight, _ in heads], axis=1)
    return _network(rows, [(weights, np.array([bias for _, bias in heads]))], move, spread)


def opinion(rows: Rows, units: int, seed: int) -> Network:
    """A network that learns which class is right and whether the cloud is, and so has an opinion of the edge's class.

    With more than 32 classes it learns only whether the edge is right.
    """
    inputs, move, spread = _standard(rows)
    classes = rows.p.shape[1]
    truth = rows.truth[:, None] == np.arange(classes) if classes <= features.MOST_CLASSES else rows.edge_right[:, None]
    model = MLPClassifier(
        hidden_layer_sizes=(units,), alpha=DECAY, max_iter=EPOCHS, batch_size=min(64, len(rows)),
        learning_rate_init=3e-3, n_iter_no_change=EPOCHS, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it stops early on purpose
        model.fit(inputs, np.column_stack([rows.cloud_right, truth]).astype(int))
    return _network(rows, list(zip(model.coefs_, model.intercepts_, strict=True)), move, spread)


def _head(inputs: Array, right: Array, seed: int) -> Weights:
    """One logistic regression; a constant where all are right, or none is."""
    share = right.mean()
    if share in (0.0, 1.0):
        return np.zeros(inputs.shape[1]), np.array(20.0 * share - 10.0)
    model = LogisticRegression(C=0.1, max_iter=1000, random_state=seed).fit(inputs, right)
    return model.coef_[0], model.intercept_[0]


def _standard(rows: Rows) -> tuple[Array, Array, Array]:
    """What a score looks at (n, inputs) with mean 0 and spread 1, and what was taken off and divided by."""
    blocks = [np.concatenate(features.of_classes(rows.p), axis=1), *([] if rows.x is None else [rows.x])]
    spread = np.concatenate([_spread(block.std(axis=0)) for block in blocks])
    inputs = np.concatenate(blocks, axis=1, dtype=np.float64)
    move = inputs.mean(axis=0)
    return (inputs - move) / spread, move, spread


def _spread(deviation: Array) -> Array:
    most = deviation.max()
    wide: Array = deviation + LEAST_SPREAD * most if most else np.ones_like(deviation)
    return wide


def _network(rows: Rows, layers: list[Weights], move: Array, spread: Array) -> Network:
    """Layers for standardised inputs as a network for the inputs themselves."""
    (first, bias), *others = layers
    folded = [(first / spread[:, None], bias), *others]
    weights = [small(weight) for weight, _ in folded]
    biases = [bias - move @ unpack(weights[0]), *(bias for _, bias in others)]  # so that rounding moves no mean
    return Network(
        classes=rows.p.shape[1],
        cells=0 if rows.x is None else rows.x.shape[1],
        layers=tuple(
            Layer(weights=weight, bias=pack(bias.astype(np.float32)))
            for weight, bias in zip(weights, biases, strict=True)
        ),
    )
