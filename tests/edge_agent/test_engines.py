"""Models load when they are what they say, and every other file is refused in one line that names file and tensor."""

import json
from hashlib import sha256
from itertools import pairwise
from math import isnan
from pathlib import Path
from random import Random

import numpy as np
import pytest
import safetensors.numpy

from edge_agent.engines import load
from edge_agent.engines.protocol import ModelError, TensorSpec
from edge_agent.plugins import PluginError
from edge_agent.values import as_value
from messages import safetensors_file
from messages.shapes import Classes, Scalar


def arrays(*widths: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    layers = {}
    for number, (wide, high) in enumerate(pairwise(widths)):
        layers[f"w{number}"] = random.normal(size=(wide, high)).astype(dtype)
        layers[f"b{number}"] = random.normal(size=high).astype(dtype)
    return layers


def by_hand(layers: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    for number in range(len(layers) // 2):
        x = x @ layers[f"w{number}"] + layers[f"b{number}"]
        if number < len(layers) // 2 - 1:
            x = np.maximum(x, 0)
    total = np.exp(x).sum()
    return np.asarray(np.exp(x) / total)


def npz(path: Path, **content) -> Path:
    np.savez(path, **content)
    return path


def test_a_perceptron_from_npz_is_the_textbook_formula(tmp_path: Path) -> None:
    layers = arrays(64, 32, 10)
    path = npz(tmp_path / "m.npz", **layers, input_shape=np.array([8, 8]))
    engine = load.for_file(path)
    x = np.random.default_rng(1).normal(size=(8, 8)).astype("float32")
    np.testing.assert_allclose(np.asarray(engine.predict(x)), by_hand(layers, x.reshape(-1)), rtol=1e-4)
    assert engine.input == TensorSpec("float32", (8, 8))
    assert engine.digest == sha256(path.read_bytes()).hexdigest()


def test_safetensors_and_npz_hold_the_same_model(tmp_path: Path) -> None:
    layers = arrays(4, 3)
    about = {"input_shape": "[2, 2]", "input_dtype": "uint8", "output": "classes"}
    safetensors.numpy.save_file(layers, tmp_path / "m.safetensors", metadata=about)
    npz(tmp_path / "m.npz", **layers, input_shape=[2, 2], input_dtype="uint8")
    one, other = load.for_file(tmp_path / "m.safetensors"), load.for_file(tmp_path / "m.npz")
    x = np.array([[0, 255], [7, 9]], "uint8")
    np.testing.assert_array_equal(one.predict(x), other.predict(x))
    assert one.input == other.input == TensorSpec("uint8", (2, 2))


def test_a_scalar_output_is_one_number(tmp_path: Path) -> None:
    path = npz(tmp_path / "m.npz", w0=np.array([[2.0], [1.0]]), b0=np.array([0.5]), output="scalar")
    value = as_value(load.for_file(path).predict(np.array([1.0, 3.0], "float32")))
    assert value == Scalar(scalar=5.5)


def test_nan_comes_out_as_nan(tmp_path: Path) -> None:
    engine = load.for_file(npz(tmp_path / "m.npz", **arrays(2, 3)))
    value = as_value(engine.predict(np.array([np.nan, 1.0], "float32")))
    assert isinstance(value, Classes)
    assert all(isnan(p) for p in value.probs)


def broken(name: str, value: np.ndarray | None) -> dict[str, np.ndarray]:
    layers = arrays(4, 5, 3)
    if value is None:
        del layers[name]
    else:
        layers[name] = value
    return layers


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (broken("b1", None), "missing ['b1']"),
        (broken("extra", np.zeros(1)), "not known ['extra']"),
        (broken("w1", np.zeros((4, 3))), "tensor w1: expected shape (5, ...), got (4, 3)"),
        (broken("b0", np.zeros(4)), "tensor b0: expected shape (5,), got (4,)"),
        (broken("w0", np.zeros(4)), "tensor w0: expected 2 axes, got shape (4,)"),
        (broken("w0", np.zeros((4, 5), "complex64")), "tensor w0: expected numbers, got complex64"),
        (broken("input_shape", np.array([3, 3])), "input_shape (3, 3): has 9 numbers, w0 takes 4"),
        (broken("input_dtype", np.array("float99")), "input_dtype 'float99': not one of"),
        (broken("output", np.array("labels")), 'output \'labels\': use "classes" or "scalar"'),
        (broken("output", np.array("scalar")), "tensor b1: output 'scalar' cannot be 3 wide"),
        (arrays(4, 1), "tensor b0: output 'classes' cannot be 1 wide"),
        ({}, "missing ['b0', 'w0']"),
    ],
)
def test_a_model_with_wrong_tensors_names_file_tensor_expected_and_got(tmp_path: Path, content, words: str) -> None:
    path = npz(tmp_path / "m.npz", **content)
    with pytest.raises(ModelError) as caught:
        load.for_file(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_and_an_unknown_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.npz: No such file or directory"):
        load.for_file(tmp_path / "no.npz")
    with pytest.raises(ModelError, match=r"no engine for '\.pkl'"):
        load.for_file(tmp_path / "m.pkl")


def test_pickles_and_compressed_archives_are_refused(tmp_path: Path) -> None:
    npz(tmp_path / "pickle.npz", w0=np.array([{}], dtype=object), b0=np.zeros(1))
    np.savez_compressed(tmp_path / "bomb.npz", w0=np.zeros((4, 1 << 20), "float32"), b0=np.zeros(1 << 20))
    with pytest.raises(ModelError, match="w0.*allow_pickle"):
        load.for_file(tmp_path / "pickle.npz")
    with pytest.raises(ModelError, match=r"'w0\.npy': compressed"):
        load.for_file(tmp_path / "bomb.npz")


def safetensors_bytes(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "header of 0 bytes"),
        (safetensors_bytes({}, length=2**63), f"header of {2**63} bytes: at most 1048576"),
        (safetensors_bytes(b'{"a": 1, "a": 2}'), "'a' stands there twice"),
        (safetensors_bytes(b"[" * 100_000), "header: "),
        (safetensors_bytes([]), "header: not a JSON object"),
        (safetensors_bytes({"__metadata__": {"a": 1}}), "__metadata__: not a map of text"),
        (safetensors_bytes({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)), "'b': begins at 4"),
        (safetensors_bytes({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, bytes(12)), "'b': begins at 8"),
        (safetensors_bytes({"a": tensor(0, 4, [1])}, bytes(8)), "the tensors end at 4, the file's data at 8"),
        (safetensors_bytes({"a": tensor(0, 4, [2])}, bytes(4)), "'a': 4 bytes, its shape and dtype have 8"),
        (safetensors_bytes({"a": tensor(0, 4, [True, 1])}, bytes(4)), "tensor 'a': shape"),
        (safetensors_bytes({"a": tensor(0, 4, [-1, -1])}, bytes(4)), "tensor 'a': shape"),
        (safetensors_bytes({"a": tensor(0, 2, [1], "BF16")}, bytes(2)), "'a': dtype 'BF16'"),
        (safetensors_bytes({"a": 3}), "tensor 'a': not dtype, shape and data_offsets"),
        (safetensors_bytes({str(n): tensor(0, 0, [0]) for n in range(10_001)}), "10001 tensors: at most 10000"),
        (b"\x80\x04\x95" + bytes(40), "header of"),
    ],
)
def test_hostile_safetensors_are_refused_by_name(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        safetensors_file.read(raw)
    assert words in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_mutated_files_load_or_are_refused_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path, random = tmp_path / f"m{suffix}", Random(5)
    if suffix == ".npz":
        npz(path, **arrays(4, 3))
    else:
        safetensors.numpy.save_file(arrays(4, 3), path)
    good, refused = path.read_bytes(), 0
    for _ in range(300):
        raw = bytearray(good)
        for _ in range(random.randint(1, 4)):
            raw[random.randrange(len(raw))] = random.randrange(256)
        path.write_bytes(raw[: random.randrange(len(raw))] if random.random() < 0.2 else raw)
        try:
            load.for_file(path)
        except ModelError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 100


def test_a_users_own_engine_gets_the_model_and_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_engine.py").write_text(
        "from edge_agent.engines.protocol import TensorSpec\n"
        "class Own:\n"
        "    input = TensorSpec('float32', (2,))\n"
        "    def __init__(self, model, gain): self.digest = 'ab' * 32; self.gain = gain\n"
        "    def predict(self, x): return x * self.gain\n"
        "class Empty: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"use": "own_engine:Own", "gain": 2.0}
    engine = load.from_plugin(spec, Path("m.bin"), "jobs.a.engine")
    np.testing.assert_array_equal(np.asarray(engine.predict(np.ones(2))), [2.0, 2.0])
    with pytest.raises(
        PluginError, match="own_engine:Own does not take these options: missing a required argument: 'gain'"
    ):
        load.from_plugin("own_engine:Own", Path("m.bin"), "jobs.a.engine")
    with pytest.raises(ModelError, match=r"jobs\.a\.engine: own_engine:Empty: an engine has a method predict"):
        load.from_plugin("own_engine:Empty", None, "jobs.a.engine")


def test_outputs_become_values() -> None:
    assert as_value(np.array([[0.25, 0.75]])) == Classes(probs=(0.25, 0.75))
    assert as_value(np.array(2.5)) == Scalar(scalar=2.5)
    with pytest.raises(ValueError, match=r"output is an array of shape \(2, 3\)"):
        as_value(np.zeros((2, 3)))
