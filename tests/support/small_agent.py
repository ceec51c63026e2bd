"""Small agents for tests: a folder with a model and an agent.toml, and what belongs beside them."""

from pathlib import Path
from typing import Any

import numpy as np

JOB = '[jobs.side]\nmodel = "small.npz"\n'
"""A job whose samples are one number: which side of zero it is on. Near zero is hard."""

PACE = "[pace]\nfirst_s = 0.2\nlast_s = 1.0\n"
"""Sends again soon, so that tests need not wait."""


def write_model(folder: Path) -> None:
    """A logistic regression over one number: class 1 when it is positive, the surer the farther from zero."""
    np.savez(folder / "small.npz", w0=np.array([[-4.0, 4.0]], "float32"), b0=np.zeros(2, "float32"))


def write_agent(folder: Path, *, node: str = "device-1", mqtt: str = 'url = "mqtt://127.0.0.1:1"', jobs: str = JOB,
                more: str = "") -> Path:  # fmt: skip
    """An agent.toml with a model beside it. `more` are lines for the top level, and may end in tables."""
    folder.mkdir(exist_ok=True)
    write_model(folder)
    file = folder / "agent.toml"
    file.write_text(f'node = "{node}"\n{more}\n[mqtt]\n{mqtt}\n{PACE}{jobs}')
    return file


def number(x: float) -> np.ndarray[Any, Any]:
    """A sample of the job."""
    return np.array([x], "float32")


EASY = number(2.0)
HARD = number(0.05)
