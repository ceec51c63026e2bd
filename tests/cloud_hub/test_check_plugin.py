"""`cloud-hub check-plugin` finds what a hub's workers would stumble over, and says where and what to do."""

import json
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from tests.support import commands

CODE = """
import numpy as np
from messages.shapes import Boxes, Scalar, Text

def good(model):
    print("loading")
    def predict(batch):
        right = 1 / (1 + np.exp(-batch.reshape(len(batch), -1).sum(axis=1)))
        return np.stack([1 - right, right], axis=1)
    return predict

class Judge:
    def __init__(self, model):
        self.sure = float(model.read_text())
    def predict(self, batch):
        return [Scalar(scalar=float(x.mean()), confidence=self.sure) for x in batch]

def reader(model):
    return lambda batch: [Text(text=bytes(x).decode()) for x in batch]

def sees_nothing(model):
    return lambda batch: [Boxes(boxes=()) for _ in batch]

def whole_batch(model):
    return lambda batch: np.exp(batch) / np.exp(batch).sum()

def one_only(model):
    return lambda batch: np.array([[0.5, 0.5]])

def normed(model):
    def predict(batch):
        x = np.abs(batch - batch.mean(axis=0))
        right = x.reshape(len(batch), -1).sum(axis=1) / (1 + x.sum())
        return np.stack([1 - right, right], axis=1)
    return predict

def place(model):
    def predict(batch):
        right = np.arange(len(batch)) / 100
        return np.stack([1 - right, right], axis=1)
    return predict

def chance(model):
    return lambda batch: np.random.default_rng().dirichlet([1, 1], len(batch))

def limited(model):
    def predict(batch):
        if len(batch) > 8:
            raise MemoryError("8 at most")
        return [[1.0]] * len(batch)
    return predict

def tires(model):
    calls = iter(range(4))
    return lambda batch: [[1.0]] * len(batch) if next(calls) < 3 else 1 // 0

def holes(model):
    return lambda batch: [Scalar(scalar=float("nan")) for _ in batch]

def none(model):
    return lambda: 0

async def later(batch):
    return 0

def waits(model):
    return later

def broken(model):
    raise OSError("no weights")
"""


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    sys.modules.pop("mine", None)  # another file's tests may have one too
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    invalidate_caches()
    yield
    sys.modules.pop("mine", None)


def check(*arguments: str) -> tuple[int, dict[str, str]]:
    """The exit code, and each finding's state with what it says."""
    done = commands.hub("check-plugin", *arguments, "--json")
    found = json.loads(done.stdout)
    assert all(bool(line["problem"]) == bool(line["solution"]) for line in found)
    return done.returncode, {f["name"]: f"{f['state']} {f['problem'] or f['note']}".rstrip() for f in found}


@pytest.mark.parametrize(
    ("name", "sample", "gives"),
    [
        ("mine:good", "float32:2", "Classes"),
        ("mine:reader", "uint8:20", "Text"),
        ("mine:sees_nothing", "float64:8,8", "Boxes"),
    ],
)
def test_a_good_model_passes(name: str, sample: str, gives: str) -> None:
    code, found = check(name, "--input", sample)
    assert (code, found["a batch of 32"]) == (0, f"ok {gives}")
    assert {text.split()[0] for text in found.values()} == {"ok"}
    assert list(found)[-4:] == ["batch size", "order", "the same twice", "time"]


def test_a_config_tells_the_model_and_what_a_sample_looks_like(tmp_path: Path) -> None:
    (tmp_path / "sure.txt").write_text("0.5")
    file = tmp_path / "hub.toml"
    file.write_text('[jobs.a]\npredictor = "mine:Judge"\nmodel = "sure.txt"\ninput = {dtype = "uint8", shape = [3]}\n')
    code, found = check("mine:Judge", "--config", str(file))
    assert (code, found["a batch of 3"]) == (0, "ok Scalar")
    assert check("mine:good", "--config", str(file)) == (
        1, {"config": f"fail no job of {file} names 'mine:good' as its predictor"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "where", "text"),
    [
        ("mine:whole_batch", "a batch of 3", "fail the predictor gave no probabilities: their sum is 0.391"),
        ("mine:one_only", "a batch of 32", "fail the predictor gave 1 answers for 32 samples"),
        ("mine:normed", "batch size", "fail answers depend on how many samples come together"),
        ("mine:place", "order", "fail answers depend on the order of the samples"),
        ("mine:chance", "the same twice", "warn other answers for the same batch"),
        ("mine:limited", "a batch of 32", "fail MemoryError: 8 at most (mine.py:49)"),
        ("mine:limited", "a batch of 3", "ok Classes"),
        ("mine:tires", "called again", "fail ZeroDivisionError: integer division or modulo by zero (mine.py:55)"),
        ("mine:tires", "a batch of 32", "ok Classes"),
        ("mine:holes", "a batch of 1", "fail the predictor gave NaN or infinity"),
        ("mine:none", "signature", "fail predict: too many positional arguments"),
        ("mine:waits", "signature", "fail predict is async, and would never be awaited"),
        ("mine:broken", "load", "fail OSError: no weights (mine.py:70)"),
        ("mine:nobody", "load", "fail AttributeError: module 'mine' has no attribute 'nobody'"),
        ("nowhere:load", "load", "fail ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(name: str, where: str, text: str) -> None:
    code, found = check(name, "--input", "float32:2")
    assert found[where] == text
    assert code == int(any(finding.startswith("fail") for finding in found.values()))


def test_without_an_input_there_is_nothing_to_show_the_model() -> None:
    done = commands.hub("check-plugin", "mine:good")
    assert done.stdout.splitlines()[-2:] == [
        "fail  input      nobody says what a sample looks like",
        "                 -> set jobs.NAME.input in the config, or give --input, like float32:8,8",
    ]
    assert done.returncode == 1
    assert commands.hub("check-plugin", "mine:good", "--input", "float32:two").returncode == 2
