"""Writes the model files of this folder: `python -m tests.support.models.make`, where litert-torch is installed.

They are real conversions of networks that were trained on scikit-learn's digits, and small enough to be committed.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from cloud_hub.models import converter
from tests.support.models.networks import ChannelsLast, cnn, mlp

HERE = Path(__file__).parent
ROWS = 1200
"""The first rows are trained on, the others are for tests."""


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (1797, 8, 8) from 0 to 1, and their labels."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("float32").reshape(-1, 8, 8), y


def fit(network: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> nn.Module:
    """The network, trained."""
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return network.eval()


def main() -> None:
    """Train and convert both."""
    import litert_torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = digits()
    images, labels = torch.from_numpy(x[:ROWS])[:, None], torch.from_numpy(y[:ROWS])
    for name, network, epochs in (("mlp", mlp(), 30), ("cnn", cnn(), 60)):
        fit(network, images, labels, epochs)
        save_file(
            {key: value.contiguous() for key, value in network.state_dict().items()}, HERE / f"{name}.safetensors"
        )
        last = ChannelsLast(network)
        litert_torch.convert(last, (torch.zeros(1, 8, 8, 1),)).export(str(HERE / f"{name}.tflite"))
        quantise(HERE / f"{name}.tflite", HERE / f"{name}-int8.tflite", x[:200, :, :, None])
        torch.onnx.export(
            network, (torch.zeros(2, 1, 8, 8),), str(HERE / f"{name}.onnx"), input_names=["x"], output_names=["y"],
            dynamo=True, dynamic_shapes=({0: torch.export.Dim("b")},), external_data=False,
        )  # fmt: skip
        converter._forget_origin(HERE / f"{name}.onnx")


def quantise(source: Path, target: Path, rows: np.ndarray) -> None:
    """Full int8, with int8 in and out."""
    from ai_edge_quantizer import quantizer, recipe

    work = quantizer.Quantizer(str(source))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    calibrated = work.calibrate({"serving_default": [{"args_0": row[None]} for row in rows]})
    target.unlink(missing_ok=True)
    work.quantize(calibrated).export_model(str(target))


if __name__ == "__main__":
    main()
