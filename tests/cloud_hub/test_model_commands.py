"""`cloud-hub model`: real files go in, are tried, kept, compared, promoted, and come out again as they were."""

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from messages import models
from tests.support import commands
from tests.support.described import FILES, description

PICKLED = bytes.fromhex("80049515000000000000005d9428473ff0000000000000474000000000000000652e")


def model(folder: Path, *words: object, code: int = 0) -> str:
    """Run a command with the config of a folder; what it prints."""
    config = folder / "hub.toml"
    config.write_text(f'data_dir = "{folder / "data"}"\n[jobs.digits]\n')
    done = commands.hub("model", *words, "--config", config)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def found(folder: Path, *words: object) -> Any:
    return json.loads(model(folder, *words, "--json"))


def described(folder: Path, name: str) -> Path:
    """A copy of a model file with its description."""
    file = Path(shutil.copy(FILES / name, folder))
    models.beside(file).write_bytes(models.write(description(file)))
    return file


def test_a_model_goes_in_and_comes_out_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    file = described(tmp_path, "mlp.tflite")
    figures = ("--metric", "digits-test:accuracy=0.91", "--data", "digits", "--code", "abc1234", "--note", "the first")
    assert model(tmp_path, "import", file, "--name", "digits", *figures).startswith("digits:1, ")
    assert "known before" in model(tmp_path, "import", file, "--name", "digits")
    one = found(tmp_path, "show", "digits")["model"]
    assert one["digest"] == sha256(file.read_bytes()).hexdigest()
    assert one["metrics"] == [{"data": "digits-test", "name": "accuracy", "value": 0.91}]
    assert (one["lineage"]["code"], one["note"]) == ("abc1234", "the first")
    assert one["description"]["input"]["tensor"]["shape"] == [1, 8, 8, 1]
    assert one["description"]["output"]["tensors"][0]["shape"] == [1, 10]
    file.unlink()
    out = tmp_path / "out.tflite"
    model(tmp_path, "export", "digits:1", "--out", out)
    assert sha256(out.read_bytes()).hexdigest() == one["digest"]
    assert models.read(models.beside(out).read_bytes(), "out").input.tensor is not None
    assert "ends with .tflite" in model(tmp_path, "export", "digits:1", "--out", tmp_path / "out.onnx", code=1)


def test_models_are_listed_compared_and_promoted(tmp_path: Path) -> None:
    for name, accuracy in (("mlp.tflite", 0.91), ("cnn.tflite", 0.96)):
        figure = ("--metric", f"digits-test:accuracy={accuracy}")
        model(tmp_path, "import", described(tmp_path, name), "--name", "digits", *figure)
    model(tmp_path, "import", described(tmp_path, "cnn.onnx"), "--parent", "digits:2", "--stage", "candidate")
    assert [(row["name"], row["version"]) for row in found(tmp_path, "list")] == [
        ("cnn", 1),
        ("digits", 2),
        ("digits", 1),
    ]
    child = found(tmp_path, "show", "cnn")["model"]
    assert child["lineage"]["parent"] == found(tmp_path, "show", "digits:2")["model"]["digest"]
    assert child["stages"] == ["candidate"]
    said = found(tmp_path, "compare", "digits:1", "digits:2")
    assert said["fits"]
    assert said["lines"][0]["change"] == pytest.approx(0.05)
    assert model(tmp_path, "promote", "digits:1", "champion") == "digits:1 is champion\n"
    assert model(tmp_path, "promote", "digits", "champion") == "digits:2 is champion, instead of version 1\n"
    assert model(tmp_path, "promote", "digits@champion", "champion", "--off") == "digits:2 is no longer champion\n"
    assert "digits:2 is not champion" in model(tmp_path, "promote", "digits", "champion", "--off", code=1)
    moves = [move["version"] for move in found(tmp_path, "show", "digits")["history"]]
    assert moves == [None, 2, 1]
    text = model(tmp_path, "show", "digits:2")
    assert "; gives: classification" in text
    assert "its input: " in text
    assert "accuracy on digits-test: 0.96" in text


def test_without_a_description_the_files_own_shapes_are_taken(tmp_path: Path) -> None:
    file = Path(shutil.copy(FILES / "mlp.tflite", tmp_path))
    assert "or say --kind" in model(tmp_path, "import", file, code=1)
    model(tmp_path, "import", file, "--kind", "embedding")
    assert found(tmp_path, "show", "mlp")["model"]["description"]["input"]["shape"] == [8, 8, 1]


def bad_files(folder: Path) -> dict[str, Path]:
    good = (FILES / "mlp.tflite").read_bytes()
    np.savez(folder / "nan.npz", w0=np.zeros((64, 10), "float32"), b0=np.full(10, np.nan, "float32"))
    np.savez_compressed(folder / "inflating.npz", w0=np.zeros((1000, 1000), "float32"))
    contents = {
        "truncated.tflite": good[: len(good) // 2], "random.tflite": os.urandom(5000), "empty.onnx": b"",
        "swapped.onnx": good, "pickle.npz": PICKLED, "model.pkl": PICKLED,
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {file.name: file for file in folder.iterdir() if file.suffix in (".npz", ".tflite", ".onnx", ".pkl")}


def test_what_is_no_model_is_refused_by_name_and_nothing_is_kept(tmp_path: Path) -> None:
    files = bad_files(tmp_path)
    assert len(files) == 8
    for name, file in files.items():
        assert name in model(tmp_path, "import", file, "--kind", "classification", code=1)
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").glob("models/*"))
    assert "is no file" in model(tmp_path, "import", tmp_path / "gone.tflite", code=1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--metric", "accuracy=1"), 2, "write DATA:NAME=NUMBER"),
        (("--metric", "a:b=1e"), 2, "write DATA:NAME=NUMBER"),
        (("--kind", "magic"), 2, "use classification, detection, regression, embedding"),
        (("--parent", "nobody"), 1, "model 'nobody': there is none"),
        (("--name", "a/b"), 1, "name 'a/b'"),
        (("--stage", "a b"), 1, "stage 'a b'"),
    ],
)
def test_mistakes_are_told_and_write_nothing(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    file = described(tmp_path, "mlp.tflite")
    assert said in model(tmp_path, "import", file, *words, code=code)
    assert found(tmp_path, "list") == [] if code == 1 else True
