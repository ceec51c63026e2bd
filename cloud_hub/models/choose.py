"""Which form of a model a device gets: the smallest that keeps what was asked for and is not slow."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct, structs

from messages.models import Report
from messages.tensors import unpack

Array = np.ndarray[Any, Any]

SLOW: Final = 1.5
"""A form that takes more than so many times as long as the fastest is not chosen for its size."""


class Form(Struct, frozen=True, kw_only=True):
    """One way to write a model, judged on held-out rows.

    `accuracy` (where labels were given) and `agreement` with the model as it was are shares; `drop` is what was lost of
    one of them, in points. `reason` says why it cannot be used.
    """

    form: str
    bytes: int = 0
    accuracy: float | None = None
    agreement: float = 0.0
    drop: float = 0.0
    call_us: float = 0.0
    reason: str = ""


def choose(forms: Sequence[Form], *, max_kb: float | None, max_drop: float) -> Form | None:
    """The form to take; None when none is small and good enough. A kB is 1,024 bytes, a drop is in points."""
    most = float("inf") if max_kb is None else max_kb * 1024
    fitting = [form for form in forms if not form.reason and form.bytes <= most and form.drop <= max_drop + 1e-9]
    if not fitting:
        return None
    limit = SLOW * min(form.call_us for form in fitting)
    return min((form for form in fitting if form.call_us <= limit), key=lambda form: form.bytes)


def results(report: Report) -> Array:
    """What a model said of the samples that it was asked about, a row each."""
    assert report.results is not None, "asked for"
    return unpack(report.results)


def judged(form: Form, report: Report, truth: Array, labels: Array | None, *, before: float | None = None) -> Form:
    """What a form is worth beside the model as it was, which gave `truth` and had the accuracy `before`."""
    if report.reason:
        return structs.replace(form, bytes=report.size, reason=report.reason)
    found = results(report)
    agreement = float(np.mean(same(found, truth)))
    accuracy = None if labels is None or found.shape[1] < 2 else float(np.mean(found.argmax(1) == labels))
    drop = 1 - agreement if accuracy is None or before is None else before - accuracy
    return structs.replace(
        form, bytes=report.size, accuracy=accuracy, agreement=agreement, drop=100 * drop, call_us=report.call_us
    )


def same(found: Array, truth: Array) -> Array:
    """For each row whether two results mean the same: the class, or numbers that are about the same."""
    if found.shape != truth.shape:
        return np.zeros(len(truth), bool)
    if found.shape[1] > 1:
        return np.asarray(found.argmax(1) == truth.argmax(1))
    near = np.isclose(found, truth, rtol=0.05, atol=0.05 * float(np.nanstd(truth)), equal_nan=True)
    return np.asarray(near.all(1))
