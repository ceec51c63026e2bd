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

COPIES: Final = 10
NOISE: Final = 0.6
"""A network learns from so many copies of each sample, with normal noise of this deviation on what is standardised."""

PASSES: Final = ((7, 1.5e-2), (2, 1.5e-3))
"""How often it sees them all, and at which learning rate."""

Weights = tuple[Array, Array]
"""Of a layer: (inputs, units) and (units,)."""


def logistic(rows: Rows, seed: int) -> Network:
    """Two logistic regressions, for the cloud and for the edge being right."""
    inputs, move, spread = _standard(rows)
    heads = [_head(inputs, right, seed) for right in (rows.cloud_right, rows.edge_right)]
    weights = np.stack([weight for weight, _ in heads], axis=1)
    return _network(rows, [(weights, np.array([bias for _, bias in heads]))], move, spread)


def opinion(rows: Rows, units: int, seed: int) -> Network:
    """A network that learns which class is right, so that it has an opinion of the edge's; then, whether the cloud is.

    With more than 32 classes it learns only whether the edge is right.
    """
    inputs, move, spread = _standard(rows)
    classes = rows.p.shape[1]
    of_classes = classes <= features.MOST_CLASSES
    model = _trained(inputs, rows.truth if of_classes else rows.edge_right, units, seed)
    (first, last), (bias, last_bias) = model.coefs_, model.intercepts_
    if of_classes:
        last, last_bias = _all_classes(last, last_bias, model.classes_, classes)
    cloud, cloud_bias = _head(np.maximum(inputs @ first + bias, 0.0), rows.cloud_right, seed)
    outputs = (np.column_stack([cloud, last]), np.append(cloud_bias, last_bias))
    return _network(rows, [(first, bias), outputs], move, spread)


def _trained(inputs: Array, targets: Array, units: int, seed: int) -> MLPClassifier:
    random = np.random.default_rng(seed)
    copies = np.tile(inputs, (COPIES, 1))
    copies += random.normal(0.0, NOISE, copies.shape)
    batch = min(128, max(32, len(inputs) // 8))
    model = MLPClassifier(
        hidden_layer_sizes=(units,), alpha=0.1, batch_size=batch, warm_start=True, n_iter_no_change=100,
        random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it stops early on purpose
        for passes, rate in PASSES:
            model.set_params(max_iter=passes, learning_rate_init=rate).fit(copies, np.tile(targets, COPIES))
    return model


def _all_classes(weights: Array, bias: Array, seen: Array, classes: int) -> Weights:
    """Columns for all classes; those that calibration never saw are as good as impossible."""
    if len(seen) == 2:  # then there is one logit, of the second
        weights, bias = np.column_stack([0.0 * weights, weights]), np.append(0.0, bias)
    wide, shifts = np.zeros((len(weights), classes)), np.full(classes, bias.min() - 10.0)
    wide[:, seen], shifts[seen] = weights, bias
    return wide, shifts


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
