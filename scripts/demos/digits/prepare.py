"""The data and both models, and what the demo needs to know of them."""

from pathlib import Path

import numpy as np
from msgspec import Struct, json

HELD_OUT = 900
EPOCHS = 60


class Prepared(Struct, frozen=True, kw_only=True):
    """What the demo needs to know of the models: the policy's threshold and the big model's own accuracy."""

    threshold: float
    cloud_accuracy: float
    labels: tuple[int, ...]


def prepare(folder: Path, seed: int, samples: int, *, epochs: int = EPOCHS) -> Prepared:
    """Train both models into `folder`, with the held-out digits as stream.npz; `samples` of them are streamed."""
    from sklearn.datasets import load_digits  # with torch it takes seconds to import, and `--help` need not wait
    from sklearn.model_selection import train_test_split

    from scripts.demos.digits.train import big, small

    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        images.astype("float32"), labels, test_size=HELD_OUT, stratify=labels, random_state=seed
    )
    threshold = small(folder, train, train_labels, seed)
    accuracy = big(folder, (train, train_labels, test, test_labels), seed, epochs)
    stream = test[:samples].reshape(-1, 8, 8)
    np.savez(folder / "stream.npz", images=stream)
    prepared = Prepared(
        threshold=threshold, cloud_accuracy=accuracy, labels=tuple(int(label) for label in test_labels[:samples])
    )
    (folder / "prepared.json").write_bytes(json.encode(prepared))
    return prepared
