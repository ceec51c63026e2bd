"""A model file is tried in a process of its own: whatever is in it, the agent lives and says what is wrong."""

import shutil
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
import pytest
import safetensors.numpy
from msgspec import structs

from edge_agent.engines import load
from edge_agent.engines.golden import row
from edge_agent.engines.protocol import ModelError
from messages import models
from messages.host import trial
from messages.host.trial import Trial
from messages.models import Classification, Description, Golden, Input
from messages.tensors import unpack
from tests.support.described import FILES, description, digits

ODD = Description(format="onnx", input=Input(shape=(4,)), output=Classification())


def placed(folder: Path, name: str, *, rows: int = 20, tolerance: float = 1e-4) -> Path:
    """A copy of a model with its description, and what torch says of some digits as its golden samples."""
    file = Path(shutil.copy(FILES / name, folder))
    weights = FILES / f"{name[:3]}.safetensors"
    torch = load.tried(weights, description(weights), module=f"tests.support.models.networks:{name[:3]}")
    x = digits()[0][:rows]
    golden = folder / f"{name}.golden.npz"
    np.savez(golden, x=x, y=np.array([row(torch.predict(each)) for each in x], "float32"))
    about = structs.replace(
        description(file), golden=Golden(sha256=sha256(golden.read_bytes()).hexdigest(), tolerance=tolerance)
    )
    models.beside(file).write_bytes(models.write(about))
    return file


def test_a_good_file_is_reported_in_full(tmp_path: Path) -> None:
    file = placed(tmp_path, "cnn.tflite")
    np.savez(tmp_path / "more.npz", x=digits()[0][:30])
    report = trial.run(Trial(file=str(file), samples=str(tmp_path / "more.npz")))
    assert report.reason == ""
    assert (report.sha256, report.size) == (sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
    assert report.runtime.startswith("ai-edge-litert ")
    assert report.input is not None
    assert (report.input.dtype, report.input.shape) == ("float32", (1, 8, 8, 1))
    assert [output.shape for output in report.outputs] == [(1, 10)]
    assert report.agreement == 1.0
    assert report.apart < 1e-4
    assert 0 < report.call_us < 1e6
    assert 10 < report.peak_mb < 500
    assert report.results is not None
    assert (unpack(report.results).argmax(1) == digits()[1][:30]).mean() > 0.8


def test_int8_is_near_enough_for_some_and_not_for_others(tmp_path: Path) -> None:
    assert "gives other results for" in trial.run(Trial(file=str(placed(tmp_path, "mlp-int8.tflite")))).reason
    near = trial.run(Trial(file=str(placed(tmp_path, "mlp-int8.tflite", tolerance=0.2))))
    assert (near.reason, near.agreement) == ("", 1.0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("endless.onnx", "took longer than 2 s to load and run once"),
        ("greedy.onnx", "Failed to allocate memory"),
    ],
)
def test_a_file_that_takes_all_time_or_memory_takes_it_from_its_own_process(name: str, words: str) -> None:
    report = trial.run(Trial(file=str(FILES / name), description=ODD, seconds=2))
    assert report.reason.startswith(f"model {FILES / name}: ")
    assert words in report.reason


def test_a_runtime_that_dies_is_named_with_its_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(ModelError, match="endless.onnx: took down its process: SIGSEGV"):
        load.for_file(FILES / "endless.onnx", ODD)


def bad(good: bytes, kind: str) -> bytes:
    match kind:
        case "truncated":
            return good[: len(good) // 2]
        case "random":
            return Random(1).randbytes(len(good))
        case "a pickle":
            return b"\x80\x04\x95" + bytes(200)
        case "NaN weights":
            weights = safetensors.numpy.load_file(FILES / "mlp.safetensors")["1.weight"].tobytes()
            assert weights in good
            return good.replace(weights, np.full(32 * 64, np.nan, "float32").tobytes())
        case "another format":
            return (FILES / "mlp.safetensors").read_bytes()
    return b""


@pytest.mark.parametrize("kind", ["empty", "truncated", "random", "a pickle", "NaN weights", "another format"])
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_bad_bytes_are_refused_with_a_reason(tmp_path: Path, kind: str, suffix: str) -> None:
    file = tmp_path / f"mlp{suffix}"
    file.write_bytes(bad((FILES / f"mlp{suffix}").read_bytes(), kind))
    report = trial.run(Trial(file=str(file), description=description(file)))
    assert report.reason.startswith(f"model {file}: ")
    assert len(report.reason) > len(f"model {file}: ") + 10
    assert ("NaN" in report.reason) == (kind == "NaN weights")


def test_a_swapped_file_is_told_by_its_golden_samples(tmp_path: Path) -> None:
    file = placed(tmp_path, "mlp.tflite")
    shutil.copy(FILES / "cnn.tflite", file)
    assert "gives other results for" in trial.run(Trial(file=str(file))).reason
    (tmp_path / "mlp.tflite.golden.npz").write_bytes(b"PK")
    assert "golden samples" in trial.run(Trial(file=str(file))).reason


def test_numpys_own_formats_are_refused_in_process(tmp_path: Path) -> None:
    np.savez(tmp_path / "nan.npz", w0=np.full((2, 2), np.inf), b0=np.zeros(2))
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04\x95" + bytes(200))
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04\x95" + bytes(200))
    np.savez_compressed(tmp_path / "inflating.npz", w0=np.zeros((4, 1 << 20), "float32"), b0=np.zeros(1 << 20))
    for name, words in (
        ("nan.npz", "tensor w0: holds NaN or infinity"),
        ("pickle.npz", "not a readable .npz"),
        ("pickle.safetensors", "header of"),
        ("inflating.npz", "compressed"),
    ):
        with pytest.raises(ModelError) as caught:
            load.for_file(tmp_path / name)
        assert words in str(caught.value)
