"""The small model files of `tests/support/models`, with what they take and give, and the digits to ask them about."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from messages.models import Classification, Description, Input, format_of

FILES = Path(__file__).parent / "models"
ROWS = 1200
"""The networks were trained on the digits before."""


def description(file: Path, **changed: Any) -> Description:
    """What a file of digits takes (8x8 pixels from 0 to 16) and gives; `changed` are fields of its input."""
    layout = "NHWC" if file.suffix == ".tflite" else "NCHW"
    takes: dict[str, Any] = {"dtype": "uint8", "shape": (8, 8), "layout": layout, "scale": 1 / 16} | changed
    gives = Classification(classes=tuple("0123456789"), activation="softmax")
    return Description(format=format_of(file), input=Input(**takes), output=gives)


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 8, 8) of uint8 and their labels, which no network here has seen."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x[ROWS:].astype("uint8").reshape(-1, 8, 8), y[ROWS:]
