"""A second version of a model: another head with one class more on a backbone that stays."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from safetensors.numpy import save_file

from messages.shapes import BlobRef
from scripts.benches import Plan, Row
from scripts.benches.blob.programs import program
from scripts.benches.delivery.processes import broker

LAYERS = 17
WIDTH = 1280


def share(plan: Plan) -> Iterator[Row]:
    """All bytes that crossed the agent's link for the second version, by the size of its file."""
    with TemporaryDirectory() as place, broker() as port:
        folder = Path(place)
        with program("hub", port, folder / "hub") as hub, program("agent", port, folder / "agent") as agent:
            for classes in (10, 11):
                _write(folder / "model.safetensors", classes, plan.seed)
                ref = hub.order(str(folder / "model.safetensors"))
                crossed = float(agent.order(f"+{ref}").split()[1])
    size = msgspec.json.decode(ref, type=BlobRef).size
    yield Row(
        area="blob", name="second_version_share", value=crossed / size, unit="of its size", better="lower",
        data=f"safetensors of {size / 1e6:.0f} MB, head of 10 classes, then of 11", seed=plan.seed, runs=1,
        baseline="the head alone", baseline_value=4 * 11 * (WIDTH + 1) / size, budget=0.05, budget_of="value",
    )  # fmt: skip


def _write(file: Path, classes: int, seed: int) -> None:
    """An image classifier of the usual kind: its head is called `classifier`, so it lies before `features`."""
    backbone, head = np.random.default_rng(seed), np.random.default_rng(seed + classes)
    tensors = {"classifier.weight": head.normal(size=(classes, WIDTH)), "classifier.bias": head.normal(size=classes)}
    for layer in range(LAYERS):
        tensors[f"features.{layer}.weight"] = backbone.normal(size=(96, 96, 3, 3 + layer % 3))
        tensors[f"features.{layer}.bias"] = backbone.normal(size=96)
    save_file({name: tensor.astype("float32") for name, tensor in tensors.items()}, file)
