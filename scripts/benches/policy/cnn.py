"""The big model of the MNIST worlds: a small CNN, trained within seconds."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

EPOCHS = 8


def trained(x: np.ndarray, y: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images (n, 28, 28) to classes (n,), learnt from these."""
    torch.set_num_threads(1)  # with more they spin while they wait for each other, and crawl on a busy machine
    torch.manual_seed(seed)
    model = _network()
    images, labels = torch.as_tensor(x)[:, None], torch.as_tensor(y)
    optimizer = torch.optim.AdamW(model.parameters(), 6e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, EPOCHS * -(-len(labels) // 64))
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(labels)), 64):
            optimizer.zero_grad()
            cross_entropy(model(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()

    def classes(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.as_tensor(x)[:, None]).argmax(1))

    return classes


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 49, 10),
    )  # fmt: skip
