"""The networks that are converted and measured, as a user would write them; pictures come as torch wants them."""

from torch import nn


def mlp() -> nn.Module:
    """64 numbers; 2,410 parameters."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def cnn() -> nn.Module:
    """Pictures (n, 1, 28, 28); 99,550 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1568, 60), nn.ReLU(), nn.Linear(60, 10),
    )  # fmt: skip


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0: pictures (n, 3, 224, 224), 1,000 classes, 4.65 million parameters."""
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return model
