"""The same networks in every runtime say the same of real digits, whatever a file's layout, scale and quantisation."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from edge_agent.engines import inputs, load, outputs
from edge_agent.engines.golden import row
from edge_agent.engines.numpy_engine import softmax
from edge_agent.engines.protocol import Engine, ModelError, TensorSpec
from edge_agent.plugins import PluginError
from edge_agent.sync import SyncAgent
from messages import models
from messages.models import Classification, Description, Embedding, FileTensor, Input, Quantised, Regression
from messages.settings.read import ConfigError
from messages.shapes import Classes, Scalar, Value
from messages.shapes import Embedding as Vector
from tests.support.described import FILES, description, digits

NOT_QUANTISED = FileTensor(dtype="int8", shape=(1, 8, 8, 1))
NETWORKS = "tests.support.models.networks"


def engine(name: str, **changed: Any) -> Engine:
    file = FILES / name
    module = f"{NETWORKS}:{file.stem}" if file.suffix == ".safetensors" else ""
    return load.tried(file, description(file, **changed), module=module)


@cache
def predictions(name: str) -> np.ndarray:
    model = engine(name)
    return np.array([row(model.predict(x)) for x in digits()[0]])


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_every_runtime_gives_what_torch_gives(name: str, suffix: str) -> None:
    np.testing.assert_allclose(predictions(name + suffix), predictions(f"{name}.safetensors"), atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_full_int8_is_as_accurate_and_asks_nothing_of_its_user(name: str) -> None:
    labels = digits()[1]
    full, small = ((predictions(n).argmax(1) == labels).mean() for n in (f"{name}.tflite", f"{name}-int8.tflite"))
    assert full > 0.9
    assert abs(full - small) < 0.02


def test_an_engine_says_what_it_takes_and_which_file_it_is() -> None:
    model = engine("cnn-int8.tflite")
    assert model.input == TensorSpec("uint8", (8, 8))
    assert len(model.digest) == 64
    assert model.digest != engine("cnn.tflite").digest


def test_samples_may_be_floats_that_are_scaled_already() -> None:
    x = digits()[0][0]
    ready = engine("cnn-int8.tflite", dtype="float32", scale=1.0)
    scaled = row(ready.predict((x / 16).astype("float32")))
    np.testing.assert_allclose(scaled, predictions("cnn-int8.tflite")[0], atol=1e-6)


def test_a_description_may_stand_round_a_numpy_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w0=np.eye(4, dtype="float32"), b0=np.zeros(4, "float32"))
    about = Description(
        format="npz", input=Input(dtype="uint8", shape=(4,), scale=0.5, offset=-1.0), output=Classification()
    )
    (tmp_path / "m.npz.json").write_bytes(models.write(about))
    model = load.for_file(tmp_path / "m.npz")
    found = row(model.predict(np.array([2, 2, 2, 4], "uint8")))
    np.testing.assert_allclose(found, softmax(np.array([0.0, 0.0, 0.0, 1.0])), rtol=1e-6)
    assert model.input == TensorSpec("uint8", (4,))


@pytest.mark.parametrize(
    ("name", "changed", "words"),
    [
        ("mlp.tflite", {"shape": (8, 9)}, "input 'serving_default_args_0' is [1, 8, 8, 1]: a sample [8, 9] in layout"),
        ("cnn.onnx", {"layout": "NHWC"}, "input 'x' is [-1, 1, 8, 8]: a sample [8, 8] in layout NHWC does not fit"),
        ("cnn.onnx", {"shape": (8, 1, 8)}, "a sample [8, 1, 8] in layout NCHW does not fit"),
        ("mlp.onnx", {"shape": (64,), "layout": ""}, "a sample [64] does not fit (does it need a layout?)"),
        ("mlp-int8.tflite", {"tensor": NOT_QUANTISED}, "the file has int8[1, 8, 8, 1] * 0"),
        ("cnn.safetensors", {"shape": (4, 4, 2)}, "cnn.safetensors: Given groups=1, weight of size"),
    ],
)  # fmt: skip
def test_a_file_of_other_shapes_is_refused_by_name(name: str, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        engine(name, **changed)
    assert str(FILES / name) in str(caught.value)
    assert words in str(caught.value)


def test_another_number_of_classes_and_another_format_are_refused() -> None:
    about = description(FILES / "mlp.tflite")
    three = structs.replace(about, output=Classification(classes=("a", "b", "c")))
    with pytest.raises(ModelError, match=r"output 0 is \[1, 10\]: the description wants 3 numbers"):
        load.tried(FILES / "mlp.tflite", three)
    with pytest.raises(ModelError, match=r"mlp\.onnx: its description is for tflite"):
        load.tried(FILES / "mlp.onnx", about)


def test_a_file_without_a_description_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copy(FILES / "mlp.tflite", tmp_path)
    with pytest.raises(ModelError, match=r"nothing says what it takes and gives: write mlp\.tflite\.json beside it"):
        load.tried(tmp_path / "mlp.tflite")
    (tmp_path / "mlp.tflite.json").write_text('{"format": "tflite"}')
    with pytest.raises(ModelError, match=r"mlp\.tflite\.json: Object missing required field `input`"):
        load.tried(tmp_path / "mlp.tflite")


def test_torch_takes_weights_only_of_the_very_names_shapes_and_dtypes(tmp_path: Path) -> None:
    import safetensors.numpy

    weights = safetensors.numpy.load_file(FILES / "mlp.safetensors")
    for changed, words in (
        ({"9.weight": np.zeros(1, "float32")}, r"tensors: missing \[\], not known \['9\.weight'\]"),
        ({"1.bias": np.zeros(32, "float64")}, r"tensor 1\.bias: the module has float32\[32\], the file float64\[32\]"),
        ({"1.bias": np.full(32, np.nan, "float32")}, r"tensor 1\.bias: holds NaN or infinity"),
    ):
        safetensors.numpy.save_file(weights | changed, tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=words):
            load.tried(tmp_path / "w.safetensors", description(FILES / "mlp.safetensors"), module=f"{NETWORKS}:mlp")
    spec = {"use": "torch", "module": f"{NETWORKS}:mlp"}
    shutil.copy(FILES / "mlp.safetensors", tmp_path)
    (tmp_path / "mlp.safetensors.json").write_bytes(models.write(description(FILES / "mlp.safetensors")))
    made = load.from_plugin(spec, tmp_path / "mlp.safetensors", "jobs.a.engine")
    np.testing.assert_allclose(row(made.predict(digits()[0][0])), predictions("mlp.safetensors")[0], atol=1e-6)
    with pytest.raises(PluginError, match=r'jobs\.a\.engine: write it as \{use = "torch"'):
        load.from_plugin("torch", FILES / "mlp.onnx", "jobs.a.engine")


@pytest.mark.parametrize(
    ("blocked", "name", "extra"),
    [
        ("ai_edge_litert", "mlp.tflite", "tflite"),
        ("onnxruntime", "mlp.onnx", "onnx"),
        ("torch", "mlp.safetensors", "torch"),
    ],
)  # fmt: skip
def test_a_runtime_that_is_not_installed_is_named_with_its_extra(blocked: str, name: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{blocked!r}] = sys.modules['tflite_runtime'] = None\n"
        "from edge_agent.engines import load; from tests.support.described import FILES, description\n"
        f"try: load.tried(FILES / {name!r}, description(FILES / {name!r}), module='a:b' * {blocked == 'torch'})\n"
        "except load.ModelError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert f"pip install 'skerry[{extra}]'" in said
    assert name in said


def read(kind: models.Output, *tensors: np.ndarray, quantised: Quantised | None = None) -> Any:
    found = [FileTensor(dtype=t.dtype.name, shape=t.shape, quantised=quantised) for t in tensors]
    return outputs.reader(kind, found, (10, 20, 3))(tensors)


def test_kinds_become_values() -> None:
    half = Quantised(scale=0.5, zero_point=10)
    assert read(Regression(scale=10.0, offset=1.0), np.array([[12]], "int8"), quantised=half) == Scalar(scalar=11.0)
    assert read(Embedding(normalised=True), np.array([[3.0, 4.0]], "float32")) == Vector(
        vector=tuple(np.array([0.6, 0.8], "float32").tolist())
    )
    np.testing.assert_allclose(read(Classification(activation="sigmoid"), np.zeros((1, 1), "float32")), [0.5, 0.5])
    np.testing.assert_allclose(read(Classification(activation="sigmoid"), np.array([[-1e6]], "float32")), [1.0, 0.0])
    np.testing.assert_allclose(read(Classification(), np.array([[11, 11]], "uint8"), quantised=half), [0.5, 0.5])
    for odd in ([np.nan, 1.0], [1.0, np.nan], [np.inf, 1.0]):
        assert np.isnan(row(read(Classification(activation="softmax"), np.array([odd], "float32")))).all()
    wide = read(Classification(activation="softmax"), np.arange(100, dtype="float32")[None])
    few = read(Classification(activation="softmax"), np.arange(40, dtype="float32")[None])
    np.testing.assert_allclose(wide[-40:], row(few), rtol=1e-5)
    with pytest.raises(ValueError, match=r"output 0 is \[1, 2\]: a regression gives one number"):
        read(Regression(), np.zeros((1, 2), "float32"))
    with pytest.raises(ValueError, match="output 1: the file has 1"):
        read(Embedding(tensor=1), np.zeros((1, 2), "float32"))


def test_whole_numbers_are_rounded_and_clipped_and_nan_is_refused() -> None:
    tensor = FileTensor(dtype="int8", shape=(1, 3), quantised=Quantised(scale=0.5, zero_point=1))
    prepare = inputs.preparer(Input(shape=(3,)), tensor)
    np.testing.assert_array_equal(prepare(np.array([0.0, 1e9, -1e9], "float32")), [[1, 127, -128]])
    with pytest.raises(ValueError, match="the sample holds NaN, which int8 has not"):
        prepare(np.array([0.0, np.nan, 1.0], "float32"))


def test_colours_are_scaled_by_channel_and_laid_out() -> None:
    tensor = FileTensor(dtype="float32", shape=(1, 3, 2, 2))
    takes = Input(dtype="uint8", shape=(2, 2, 3), layout="NCHW", scale=(1.0, 2.0, 3.0), offset=(0.0, 0.0, -1.0))
    x = np.arange(12, dtype="uint8").reshape(2, 2, 3)
    expected = (x * np.array([1.0, 2.0, 3.0]) - np.array([0.0, 0.0, 1.0])).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(inputs.preparer(takes, tensor)(x), expected)


def test_values_are_what_an_agent_sends() -> None:
    from edge_agent.values import as_value, is_finite

    value: Value = as_value(predictions("cnn-int8.tflite")[0])
    assert isinstance(value, Classes)
    assert sum(value.probs) == pytest.approx(1.0, abs=1e-5)
    assert not is_finite(Vector(vector=(1.0, float("nan"))))


def test_an_agent_runs_a_tflite_file_and_does_not_start_on_a_broken_one(tmp_path: Path) -> None:
    file = tmp_path / "mlp.tflite"
    file.write_bytes((FILES / "mlp.tflite").read_bytes())
    (tmp_path / "mlp.tflite.json").write_bytes(models.write(description(FILES / "mlp.tflite")))
    config = tmp_path / "agent.toml"
    config.write_text('node = "d"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n[jobs.digits]\nmodel = "mlp.tflite"\n')
    with SyncAgent.from_config(config) as agent:
        answers = [agent.infer(x) for x in digits()[0][:20]]
    for answer, expected in zip(answers, predictions("mlp.tflite"), strict=False):
        assert isinstance(answer.value, Classes)
        np.testing.assert_allclose(answer.value.probs, expected, atol=1e-6)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ConfigError, match=r"jobs\.digits: model .*mlp\.tflite: The model is not a valid Flatbuffer"):
        SyncAgent.from_config(config)
