"""Scores and distances as functions, made once from their shapes.

An agent computes networks and distances of one sample its own way, `edge_agent.policies.forward`: the same to
rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from messages.offload import features
from messages.offload.features import Array
from messages.offload.shapes import Gate, Network, Score
from messages.shapes import Tensor
from messages.tensors import unpack

Scorer = Callable[[Array, Array | None], Any]
"""From probabilities (..., classes) and pooled samples (..., cells), or None where none are needed, to scores (...)."""

MOST_UNITS: Final = 4096
"""So wide may a layer be."""


def scorer(score: Score) -> Scorer:
    """The score as a function. Raises ValueError that names what does not fit."""
    if isinstance(score, Network):
        return _network(score)
    return partial(_RULES[score.rule], score.temperature)


def distance(gate: Gate) -> Callable[[Array], Any]:
    """From pooled samples (..., cells) to Mahalanobis distances (...). Raises ValueError when it does not fit."""
    whiten, offset = whitening(gate)

    def far(pooled: Array) -> Any:
        moved = pooled.dot(whiten) - offset
        return np.sqrt(np.add.reduce(moved * moved, axis=-1))

    return far


def whitening(gate: Gate) -> tuple[Array, Array]:
    """What pooled samples are multiplied by (cells, parts), and what is then taken off (parts,). Raises ValueError."""
    mean, whiten = _matrix(gate.mean, 1, "gate.mean"), _matrix(gate.whiten, 2, "gate.whiten")
    if mean.shape != whiten.shape[:1]:
        raise ValueError(f"gate: mean {mean.shape}, whiten {whiten.shape}")
    return whiten, mean.dot(whiten)


def _margin(temperature: float, p: Array, _: Array | None) -> Any:
    top = np.sort(features.scaled(p, temperature), axis=-1)
    return 1.0 - (top[..., -1] - top[..., -2])


def _max_probability(temperature: float, p: Array, _: Array | None) -> Any:
    return 1.0 - np.maximum.reduce(features.scaled(p, temperature), axis=-1)


def _entropy(temperature: float, p: Array, _: Array | None) -> Any:
    return features.entropy(features.scaled(p, temperature))


_RULES: Final = {"margin": _margin, "max_probability": _max_probability, "entropy": _entropy}


def _network(score: Network) -> Scorer:
    *hidden, (last, last_bias) = layers(score)

    def gain(p: Array, pooled: Array | None) -> Any:
        parts = features.of_classes(p)
        if pooled is not None and score.cells:
            parts.append(pooled)
        flow: Array = np.concatenate(parts, axis=-1, dtype=np.float32)
        for weights, bias in hidden:
            flow = flow.dot(weights)
            flow += bias
            np.maximum(flow, _ZERO, out=flow)
        out = flow.dot(last)
        out += last_bias
        if out.shape[-1] == 1:
            return out[..., 0]
        edge = _logistic(out[..., 1]) if out.shape[-1] == 2 else _agreed(out[..., 1:], p)
        return _logistic(out[..., 0]) - edge

    return gain


def _logistic(logits: Array) -> Any:
    """By way of the hyperbolic tangent, which overflows nowhere."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def _agreed(logits: Array, p: Array) -> Any:
    """What a second opinion, logits (..., classes), gives the class that the first holds most likely."""
    powers = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    chosen = np.take_along_axis(powers, p.argmax(axis=-1)[..., None], axis=-1)
    return chosen[..., 0] / np.add.reduce(powers, axis=-1)


_ZERO: Final = np.float32(0.0)


def layers(score: Network) -> list[tuple[Array, Array]]:
    """Weights and biases, the first layer first. Raises ValueError that names what does not fit."""
    if not score.layers:
        raise ValueError("layers: at least one")
    if score.classes < 2:
        raise ValueError(f"classes: {score.classes}, at least 2")
    found, inputs = [], features.width(score.classes) + score.cells
    for number, layer in enumerate(score.layers):
        weights, bias = (
            _matrix(layer.weights, 2, f"layers[{number}].weights"),
            _matrix(layer.bias, 1, f"layers[{number}].bias"),
        )
        if weights.shape != (inputs, bias.shape[0]) or not 1 <= bias.shape[0] <= MOST_UNITS:
            raise ValueError(f"layers[{number}]: takes {inputs}, weights {weights.shape}, bias {bias.shape}")
        found.append((weights, bias))
        inputs = bias.shape[0]
    if inputs not in (1, 2, score.classes + 1):
        raise ValueError(f"layers: the last has {inputs} units, not 1, 2 or {score.classes + 1}")
    return found


def _matrix(tensor: Tensor, axes: int, name: str) -> Array:
    array = unpack(tensor)
    if array.ndim != axes or array.dtype.kind != "f":
        raise ValueError(f"{name}: {array.dtype.name}{list(array.shape)}, not {axes} axes of floating point numbers")
    return array.astype(np.float32)
