"""Samples to calibrate with: points in a plane, whose class an edge model sees half of, and a cloud all."""

from pathlib import Path
from typing import Any

import numpy as np

from cloud_hub.store.database import HubDatabase
from cloud_hub.store.protocol import Verdict
from messages.shapes import Classes, HardSample
from messages.tensors import pack

MODEL = "a" * 64


def points(number: int, seed: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays as a labelled file has them."""
    x = np.random.default_rng(seed).standard_normal((number, 2)).astype("float32")
    right = 1.0 / (1.0 + np.exp(-3.0 * x[:, 0]))
    y = (x.sum(axis=1) > 0.0).astype(np.int64)
    return {"x": x, "y": y, "edge": np.stack([1.0 - right, right], axis=1), "cloud": y, "model": np.array(MODEL)}


def labelled(folder: Path, number: int, *, without: str = "", **more: Any) -> Path:
    """A labelled file."""
    file = folder / "labelled.npz"
    np.savez(file, **{name: array for name, array in (points(number) | more).items() if name != without})
    return file


def audits(store: HubDatabase, number: int, *, model: str = MODEL, node: str = "cam-1", first: int = 0) -> list[str]:
    """Answered audits in a hub's database; returns the lines of a file with their labels."""
    found = points(number, seed=first + 2)
    lines = []
    with store.transaction():
        for index in range(number):
            sample_id = f"{node}-{model[:1]}-{first + index}"
            sample = HardSample(
                event_id="s.1", timestamp=1, job="sides", sample_id=sample_id, x=pack(found["x"][index]),
                edge=Classes(probs=tuple(found["edge"][index].tolist())), reason="audit", audit=True, model=model,
            )  # fmt: skip
            store.add_sample(node, sample, sample_id.encode(), 1)
            (row,) = [waiting.row for waiting in store.waiting("sides", 1)]
            answer = [0.0, 0.0]
            answer[found["cloud"][index]] = 1.0
            store.answer(Verdict(row, Classes(probs=tuple(answer))), "big", 2)
            lines.append(f"{sample_id},{found['y'][index]}")
    return lines
