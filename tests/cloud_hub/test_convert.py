"""The hub makes a device's form of a model, judges it with the engine that devices run, and keeps the best."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from msgspec import structs

from cloud_hub.models import convert
from cloud_hub.models.choose import Form, choose, same
from cloud_hub.models.convert import ConvertError, Wish
from edge_agent.engines import load
from edge_agent.engines.golden import row
from edge_agent.engines.protocol import TensorSpec
from messages import models
from messages.models import Classification
from tests.support.brokers import ROOT
from tests.support.described import FILES, digits
from tests.support.pythons import CONVERTERS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A perceptron for raw pixels as the agent's NumPy engine has it, and digits that it has not seen."""
    layers = safetensors.numpy.load_file(FILES / "mlp.safetensors")
    np.savez(
        tmp_path / "mlp.npz", w0=layers["1.weight"].T / 16, b0=layers["1.bias"], w1=layers["3.weight"].T,
        b1=layers["3.bias"], input_shape=np.array([8, 8]), input_dtype=np.array("uint8"),
    )  # fmt: skip
    x, y = digits()
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    return tmp_path


def hub(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-m", "cloud_hub.cli", "model", "convert", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environ)


def test_a_perceptron_becomes_a_tflite_file_that_an_agent_runs(folder: Path) -> None:
    done = hub(folder, "mlp.npz", "--for", "tflite", "--data", "digits.npz", "--max-kb", "8", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    before, fp32, fp16, int8 = found["forms"]
    assert [form["form"] for form in found["forms"]] == ["as it was", "fp32", "fp16", "int8"]
    assert before["accuracy"] == fp32["accuracy"] > 0.9
    assert fp32["agreement"] == 1.0
    assert abs(int8["accuracy"] - before["accuracy"]) < 0.02
    assert fp32["bytes"] > 8 * 1024 > fp16["bytes"] > int8["bytes"]
    assert found["chosen"] in ("fp16", "int8")
    engine, original = load.for_file(folder / "mlp.tflite"), load.for_file(folder / "mlp.npz")
    assert engine.input == original.input
    for x in digits()[0][:50]:
        np.testing.assert_allclose(row(engine.predict(x)), row(original.predict(x)), atol=0.1)
    about = models.read((folder / "mlp.tflite.json").read_bytes(), "mlp.tflite.json")
    assert about.input.tensor is not None
    assert about.golden is not None
    assert about.output == Classification(tensors=about.output.tensors)


def test_what_is_wrong_is_named(folder: Path) -> None:
    np.savez(folder / "few.npz", x=digits()[0][:3])
    np.savez(folder / "odd.npz", x=digits()[0].astype("float32"))
    (folder / "bad.npz").write_bytes(b"\x80\x04")
    for file, data, python, words in (
        ("mlp.npz", "few.npz", "", "few.npz: needs an array x of 8 samples or more"),
        ("mlp.npz", "odd.npz", "", "odd.npz: x is float32[447, 8, 8], the model takes uint8[8, 8]"),
        ("mlp.npz", "digits.npz", "/no/python", "/no/python: [Errno 2] No such file"),
        ("mlp.npz", "digits.npz", "/bin/false", "the converter failed: exit code 1"),
        ("bad.npz", "digits.npz", "", "bad.npz: not a readable .npz"),
        ("mlp.npz", "no.npz", "", "no.npz: [Errno 2] No such file"),
    ):
        wish = Wish(file=folder / file, target="tflite", data=folder / data, out=folder / "m.tflite")
        with pytest.raises(ConvertError) as caught:
            convert.convert(structs.replace(wish, python=python or sys.executable))
        assert words in str(caught.value)


def test_a_converter_that_is_not_installed_is_a_reason_in_the_table(folder: Path) -> None:
    """Torch modules need litert-torch, which is 2 GB: `scripts/test extra` has it."""
    source, module = str(FILES / "mlp.safetensors"), "tests.support.models.networks:mlp"
    done = hub(folder, source, "--module", module, "--for", "tflite", "--data", "digits.npz", "-o", "m.tflite")
    assert done.returncode == 1
    assert "No module named 'litert_torch'" in " ".join(done.stdout.replace("\u2502", " ").split())
    assert "none is small and good enough" in done.stdout
    assert not (folder / "m.tflite").exists()


SMALL = Form(form="int8", bytes=100 * 1024, drop=0.4, call_us=20.0)
LARGE = Form(form="fp32", bytes=400 * 1024, drop=0.0, call_us=30.0)


@pytest.mark.parametrize(
    ("forms", "max_kb", "max_drop", "chosen"),
    [
        ([LARGE, SMALL], 200, 0.5, "int8"),
        ([LARGE, SMALL], None, 0.3, "fp32"),
        ([LARGE, SMALL], 99, 0.5, None),
        ([LARGE, structs.replace(SMALL, call_us=50.0)], None, 0.5, "fp32"),
        ([LARGE, structs.replace(SMALL, reason="it did not load")], None, 0.5, "fp32"),
        ([structs.replace(SMALL, drop=-1.0)], 100, 0.0, "int8"),
        ([], None, 1.0, None),
    ],
)
def test_the_smallest_that_keeps_what_was_asked_and_is_not_slow(forms, max_kb, max_drop, chosen) -> None:
    found = choose(forms, max_kb=max_kb, max_drop=max_drop)
    assert (found.form if found else None) == chosen


def test_numbers_agree_when_they_are_about_the_same() -> None:
    truth = np.array([[1.0], [2.0], [3.0]])
    assert same(truth + 0.03, truth).tolist() == [True, True, True]
    assert same(truth + np.array([[0], [9], [0]]), truth).tolist() == [True, False, True]
    assert same(np.zeros((3, 2)), truth).tolist() == [False] * 3


@pytest.mark.extra
@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", ["tflite", "onnx"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_torch_modules_are_converted_in_another_python(folder: Path, name: str, target: str) -> None:
    source, module = str(FILES / f"{name}.safetensors"), f"tests.support.models.networks:{name}"
    arguments = ("--module", module, "--python", str(CONVERTERS), "--data", "digits.npz", "--max-drop", "2", "--json")
    done = hub(folder, source, "--for", target, "-o", f"m.{target}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    before, *forms = json.loads(done.stdout)["forms"]
    assert [(form["form"], form["reason"]) for form in forms] == [("fp32", ""), ("fp16", ""), ("int8", "")]
    assert forms[0]["agreement"] == 1.0
    assert all(abs(form["accuracy"] - before["accuracy"]) < 0.02 for form in forms)
    assert load.for_file(folder / f"m.{target}").input == TensorSpec("uint8", (8, 8))
