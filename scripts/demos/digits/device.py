"""The device's plug-ins: a source that streams this device's digits, and a sink that keeps every prediction.

After a crash the source goes on with the first digit that has no prediction yet, as a camera's program would.
"""

import functools
import json
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from messages.shapes import Classes, Prediction

_asked: dict[str, float] = {}


PREDICTIONS = Path("predictions.jsonl")
"""In the folder in which the agent was started."""


def stream(*, file: str, node: int, nodes: int, interval_s: float) -> Iterator[tuple[str, "np.ndarray[Any, Any]"]]:
    """Every `nodes`-th digit of a file, one in `interval_s` seconds."""
    images = np.load(file)["images"]
    done = {line["id"] for line in predictions(PREDICTIONS)}
    for index in range(node - 1, len(images), nodes):
        sample_id = f"digit-{index}"
        if sample_id in done:
            continue
        time.sleep(interval_s)
        _asked[sample_id] = time.monotonic()
        yield sample_id, images[index]


def keep(prediction: Prediction) -> None:
    """Write a prediction down, a line at a time, so that a kill takes nothing that was written."""
    asked = _asked.get(prediction.sample_id)
    probs = prediction.value.probs if isinstance(prediction.value, Classes) else ()
    now = time.monotonic()
    line = {
        "id": prediction.sample_id,
        "label": int(np.argmax(probs)) if probs else None,
        "provisional": prediction.provisional,
        "origin": prediction.origin,
        "ms": None if asked is None else (now - asked) * 1000,
        "at": now,
    }
    _file().write(json.dumps(line).encode() + b"\n")


def predictions(path: Path) -> list[dict[str, Any]]:
    """The lines of a predictions file; one that a kill cut short is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


@functools.cache
def _file() -> FileIO:
    return FileIO(PREDICTIONS, "a")
