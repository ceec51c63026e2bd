"""The data: one part trains the models, one calibrates the policy, one is what the devices see, a phase at a time."""

from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct, json

from scripts.demos.digits.fleet import NODES
from scripts.demos.policy.device import PHASES

CALIBRATION: Final = 500
HELD_OUT: Final = 400
EPOCHS: Final = 15

NOISY: Final = 1
"""The device whose camera goes bad in the last phase."""

NOISE: Final = 3.0
"""Standard deviation of a bad camera's pixels, which go from 0 to 16."""

_FLICKER: Final = 0.3
"""That of a good one's: no two pictures of a digit are the same."""


class Prepared(Struct, frozen=True, kw_only=True):
    """The labels of all samples, by their number, and the big model's accuracy on what no model was trained on."""

    cloud_accuracy: float
    labels: tuple[int, ...]


def prepare(folder: Path, seed: int, samples: int) -> Prepared:
    """Train both models into `folder`, and write labelled.npz (x, y) and stream.npz.

    That has an array (phases, samples, 8, 8) for each device, `device_1` to `device_3`.
    """
    from sklearn.datasets import load_digits  # with torch it takes seconds to import, and `--help` need not wait
    from sklearn.model_selection import train_test_split

    from scripts.demos.digits.train import big, small

    images, labels = load_digits(return_X_y=True)
    rest = HELD_OUT + CALIBRATION
    train, test, train_labels, test_labels = train_test_split(
        images.astype("float32"), labels, test_size=rest, stratify=labels, random_state=seed
    )
    small(folder, train, train_labels, seed)
    accuracy = big(folder, (train, train_labels, test, test_labels), seed, EPOCHS)
    np.savez(folder / "labelled.npz", x=test[HELD_OUT:].reshape(-1, 8, 8), y=test_labels[HELD_OUT:])
    held_out = (test[:HELD_OUT].reshape(-1, 8, 8), test_labels[:HELD_OUT])
    prepared = Prepared(cloud_accuracy=accuracy, labels=_streams(folder, held_out, seed, samples))
    (folder / "prepared.json").write_bytes(json.encode(prepared))
    return prepared


def _streams(folder: Path, held_out: tuple[np.ndarray, np.ndarray], seed: int, samples: int) -> tuple[int, ...]:
    random = np.random.default_rng(seed)
    images, labels = held_out
    rows = random.integers(len(images), size=(NODES, len(PHASES), samples))
    pictures = images[rows]
    deviation = np.full((NODES, len(PHASES), 1, 1, 1), _FLICKER)
    deviation[NOISY - 1, -1] = NOISE
    seen = np.clip(pictures + deviation * random.standard_normal(pictures.shape), 0.0, 16.0).astype("float32")
    np.savez(folder / "stream.npz", **{f"device_{node}": seen[node - 1] for node in range(1, NODES + 1)})
    return tuple(labels[rows].ravel().tolist())
