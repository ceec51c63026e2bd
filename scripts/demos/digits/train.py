"""Trains both models: a CNN for the hub, a logistic regression for the devices, and a threshold between them."""

from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from scripts.demos.digits.big import network

SMALL_ROWS = 200
SHARE = 0.2
"""The share of samples that should be sent; the threshold comes from training rows that the small model never saw."""

MOST_MOVED = (0.21, 0.1, 0.1, 0.25, 0.25)
"""Turn in radians, shear, change of size, and moves right and down: a pixel is a quarter, for the grid is 2 wide."""


def small(folder: Path, images: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Logistic regression on 4x4 pooled pixels. Pooling is linear, so it is folded into the weights for raw pixels."""
    pool = np.zeros((64, 16))
    for pixel in range(64):
        pool[pixel, pixel // 16 * 4 + pixel % 8 // 2] = 1 / 32
    model = LogisticRegression(C=10, max_iter=5000, random_state=seed)
    model.fit(images[:SMALL_ROWS] @ pool, labels[:SMALL_ROWS])
    np.savez(
        folder / "small.npz", w0=(pool @ model.coef_.T).astype("float32"), b0=model.intercept_.astype("float32"),
        input_shape=np.array([8, 8]), input_dtype=np.array("float32"),
    )  # fmt: skip
    certainty = model.predict_proba(images[SMALL_ROWS:] @ pool).max(axis=1)
    return float(np.quantile(certainty, SHARE))


def big(folder: Path, data: tuple[np.ndarray, ...], seed: int, epochs: int) -> float:
    """A CNN; returns its accuracy on all held-out rows."""
    torch.set_num_threads(1)  # with more they spin while they wait for each other, and crawl on a busy machine
    torch.manual_seed(seed)
    train, train_labels, test, test_labels = (torch.as_tensor(part) for part in data)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, epochs * -(-len(train) // 64))
    with Progress() as progress:
        bar = progress.add_task("training the big model", total=epochs)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(train)), 64):
                optimizer.zero_grad()
                loss = cross_entropy(model(_moved(train[rows])), train_labels[rows], label_smoothing=0.1)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            progress.advance(bar)
    save_file(model.state_dict(), folder / "cnn.safetensors")
    with torch.no_grad():
        return float((model.eval()(test).argmax(1) == test_labels).float().mean())


def _moved(images: torch.Tensor) -> torch.Tensor:
    """Each turned by up to 12 degrees, sheared and sized by up to a tenth, moved by up to a pixel, as writers do."""
    turn, shear, size, *move = ((torch.rand(5, len(images)) * 2 - 1) * torch.tensor(MOST_MOVED)[:, None]).unbind()
    size = 1 + size
    top = torch.stack([turn.cos() * size, shear - turn.sin() * size, move[0]], 1)
    bottom = torch.stack([turn.sin() * size, turn.cos() * size, move[1]], 1)
    grid = affine_grid(torch.stack([top, bottom], 1), [len(images), 1, 8, 8], align_corners=False)
    return grid_sample(images.reshape(-1, 1, 8, 8), grid, align_corners=False).reshape(-1, 64)
