"""The hub's plug-in: the big model, as `predictor = "scripts.demos.digits.big:load"` in hub.toml names it."""

from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn


def network() -> nn.Module:
    """A small CNN: (N, 64) raw pixels from 0 to 16 in, (N, 10) logits out."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.BatchNorm2d(1),
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def load(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """Load the weights; the answer takes a batch (N, 8, 8) and gives class probabilities (N, 10)."""
    torch.set_num_threads(1)
    model = network()
    model.load_state_dict(load_file(path))
    model.eval()

    def predict(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = model(torch.from_numpy(np.ascontiguousarray(batch)).reshape(-1, 64))
            return np.asarray(torch.softmax(logits, 1))

    return predict
