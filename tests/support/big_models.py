"""Big models for tests, written as a user would write them: a module beside hub.toml."""

from pathlib import Path
from typing import Final

CODE: Final = '''
import os
import time

import numpy as np


def sides(model):
    """Class 1 where the sample's sum is positive."""
    def predict(batch):
        right = (batch.reshape(len(batch), -1).sum(axis=1) > 0).astype("float64")
        return np.stack([1 - right, right], axis=1)
    return predict


class Moody:
    """What a sample's first number says: 9 raises, 8 is NaN, 7 kills the process, 6 takes an hour."""

    def __init__(self, model):
        print("this is the user's own print")

    def predict(self, batch):
        first = batch.reshape(len(batch), -1)[:, 0]
        if (first == 9).any():
            raise RuntimeError("too hard")
        if (first == 7).any():
            os.kill(os.getpid(), 9)
        if (first == 6).any():
            time.sleep(3600)
        probs = np.tile([0.25, 0.75], (len(batch), 1))
        probs[first == 8] = np.nan
        return probs


def slow(model):
    """Takes two seconds a batch."""
    inner = sides(model)
    def predict(batch):
        time.sleep(2.0)
        return inner(batch)
    return predict


def broken(model):
    raise ValueError(f"{model.name} has no weights")
'''


def write_models(folder: Path) -> None:
    """Put the module `big` into a folder."""
    (folder / "big.py").write_text(CODE)
