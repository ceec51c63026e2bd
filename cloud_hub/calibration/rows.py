"""What is known of the samples of a calibration, and of which of them a score may learn."""

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np

from cloud_hub.calibration.bounds import least_share
from messages.offload.features import Array

UNKNOWN: Final = -1
"""In place of a class."""

CONFIDENCE: Final = 0.95
"""That a cloud's answers can be believed where no person has looked."""


class CalibrationError(ValueError):
    """The samples do not allow what was asked for; the text says how many are missing, or which field is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """`n` samples that the edge model was not trained on.

    `probs` (n, classes) are the edge's probabilities, or (n,) its one confidence where results are boxes, numbers or
    text. `x` (n, *shape) are the samples. `cloud` (n,) and `labels` (n,) are classes: what the cloud said, and what is
    true; -1 where nobody knows.
    """

    probs: Array
    x: Array | None = None
    cloud: Array | None = None
    labels: Array | None = None

    def __len__(self) -> int:
        """How many samples."""
        return len(self.probs)


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples with the `cloud`'s class and the `truth` (n,), and `p` (n, classes) and pooled `x` (n, cells) or None."""

    p: Array
    x: Array | None
    cloud: Array
    truth: Array

    def __len__(self) -> int:
        """How many samples."""
        return len(self.p)

    @property
    def edge(self) -> Array:
        """The edge's classes (n,)."""
        classes: Array = self.p.argmax(axis=1)
        return classes

    @property
    def edge_right(self) -> Array:
        """Where the edge's class is the true one (n,)."""
        right: Array = self.edge == self.truth
        return right

    @property
    def cloud_right(self) -> Array:
        """Where the cloud's class is the true one (n,)."""
        right: Array = self.cloud == self.truth
        return right

    @property
    def gain(self) -> Array:
        """What sending would change (n,): 1, 0 or -1 right answers."""
        return self.cloud_right.astype(np.float64) - self.edge_right

    def take(self, which: Array) -> "Rows":
        """Some of them, by index or mask."""
        return Rows(self.p[which], None if self.x is None else self.x[which], self.cloud[which], self.truth[which])

    def without_samples(self) -> "Rows":
        """The same, as a score sees them that looks at the edge's result alone."""
        return replace(self, x=None)

    def __add__(self, other: "Rows") -> "Rows":
        """Both."""
        x = None if self.x is None or other.x is None else np.concatenate([self.x, other.x])
        joined = [np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("p", "cloud", "truth")]
        return Rows(joined[0], x, *joined[1:])


def checked(data: Calibration) -> Calibration:
    """The same with what is missing made up as unknown. Raises CalibrationError that names the field."""
    count = len(data)
    if data.probs.ndim not in (1, 2) or (data.probs.ndim == 2 and data.probs.shape[1] < 2):
        raise CalibrationError(f"probs: shape {data.probs.shape}, not (samples, classes) or (samples,)")
    if not np.isfinite(data.probs).all() or data.probs.min(initial=0.0) < 0.0 or data.probs.max(initial=0.0) > 1.0:
        raise CalibrationError("probs: numbers from 0 to 1 only")
    unknown = np.full(count, UNKNOWN)
    full = replace(
        data,
        cloud=unknown if data.cloud is None else data.cloud,
        labels=unknown if data.labels is None else data.labels,
    )
    for field in fields(full):
        array: Any = getattr(full, field.name)
        if array is not None and len(array) != count:
            raise CalibrationError(f"{field.name}: {len(array)} samples, probs has {count}")
    if full.x is not None and not np.isfinite(full.x).all():
        raise CalibrationError("x: finite numbers only")
    if full.labels is not None and full.probs.ndim == 2 and full.labels.max(initial=UNKNOWN) >= full.probs.shape[1]:
        raise CalibrationError(f"labels: {full.labels.max()} is no class of {full.probs.shape[1]}")
    return full


def trusted(labelled: Rows, others: Rows) -> Rows:
    """Of the samples without a label those where the cloud's class passes for the truth.

    That is decided for each class that the edge predicts: where the two disagree and a person has looked, the cloud
    must be right in more than half of the cases, with 95 % confidence.
    """
    apart = labelled.edge != labelled.cloud
    believed = [
        kind for kind in range(labelled.p.shape[1]) if _believed(labelled.cloud_right[apart & (labelled.edge == kind)])
    ]
    chosen = others.take(np.isin(others.edge, believed))
    return replace(chosen, truth=chosen.cloud)


def _believed(right: Array) -> bool:
    return least_share(int(right.sum()), len(right), CONFIDENCE) > 0.5
