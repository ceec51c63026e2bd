"""Two small networks for 8x8 digits, as a user would write them; `make.py` trains them and writes the files here."""

import torch
from torch import nn


def mlp() -> nn.Module:
    """64 numbers from 0 to 1, flat or as a picture; gives logits."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def cnn() -> nn.Module:
    """Pictures as torch wants them: (n, 1, 8, 8)."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


class ChannelsLast(nn.Module):
    """The same network for pictures as a device has them: (n, height, width, channels)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of pictures (n, height, width, channels)."""
        out: torch.Tensor = self.network(x.permute(0, 3, 1, 2))
        return out
