"""The device's camera, a phase at a time: it rests until the file `phase` beside its stream names the next one."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

PHASES: Final = ("calibrated 0.2", "budget 0.05", "noise")


def stream(*, file: str, node: int, interval_s: float) -> Iterator[tuple[str, "np.ndarray[Any, Any]"]]:
    """All pictures of this device, one in `interval_s` seconds."""
    phases = np.load(file)[f"device_{node}"]
    for phase, images in enumerate(phases):
        while open_phases(Path(file)) <= phase:
            time.sleep(0.02)
        for index, image in enumerate(images):
            time.sleep(interval_s)
            yield f"digit-{number_of(node, phase, index, len(images))}", image


def open_phases(stream_file: Path) -> int:
    """How many phases may be shown."""
    file = stream_file.with_name("phase")
    return int(file.read_text() or 0) if file.exists() else 0


def number_of(node: int, phase: int, index: int, samples: int) -> int:
    """The number of a sample among all: phases of a device lie behind each other, and devices behind each other."""
    return ((node - 1) * len(PHASES) + phase) * samples + index
