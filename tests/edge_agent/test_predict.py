"""`edge-agent predict`: the agent's own model on a file of samples."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import Done, agent
from tests.support.small_agent import write_agent


def predict(folder: Path, samples: object, job: str = "side", **more: object) -> Done:
    file = write_agent(folder)
    np.savez(folder / "in.npz", **({"x": np.asarray(samples)} | more))  # type: ignore[arg-type]
    return agent("predict", job, folder / "in.npz", "-o", folder / "out.npz", "--config", file)


def test_the_models_answers_are_put_beside_what_the_file_holds(tmp_path: Path) -> None:
    done = predict(tmp_path, [[-2.0], [0.0], [2.0]], y=np.array([0, 1, 1]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'out.npz'}: 3 samples of job side, model ")
    with np.load(tmp_path / "out.npz") as out:
        assert out["edge"].argmax(axis=1).tolist() == [0, 0, 1]
        assert out["edge"][1].tolist() == [0.5, 0.5]
        assert out["y"].tolist() == [0, 1, 1]
        assert len(str(out["model"])) == 64


def test_what_the_model_cannot_judge_is_nan(tmp_path: Path) -> None:
    engine = (
        "from edge_agent.engines.protocol import TensorSpec\nfrom messages.shapes import Boxes, Box\n"
        "class Finder:\n    input, digest = TensorSpec('float32', (1,)), '0' * 64\n"
        "    def predict(self, x):\n"
        "        return Boxes(boxes=(Box(corners=(0, 0, 1, 1), score=0.75),) if x[0] > 0 else ())\n"
    )
    (tmp_path / "finder.py").write_text(engine)
    file = write_agent(tmp_path, jobs='[jobs.side]\nengine = "finder:Finder"\n')
    np.savez(tmp_path / "in.npz", x=np.array([[1.0], [-1.0]]))
    assert agent("predict", "side", tmp_path / "in.npz", "-o", tmp_path / "o.npz", "--config", file).returncode == 0
    with np.load(tmp_path / "o.npz") as out:
        np.testing.assert_array_equal(out["edge"], [[0.75], [np.nan]])


@pytest.mark.parametrize(
    ("samples", "job", "code", "words"),
    [
        ([[1.0, 2.0]], "side", 2, "in.npz: x has shape (1, 2): the model takes (n, 1)"),
        (np.zeros((0, 1)), "side", 2, "in.npz: x has shape (0, 1)"),
        ([[1e300]], "side", 2, "in.npz: x holds a number that float32 cannot hold"),
        ([["one"]], "side", 2, "in.npz: x holds str"),
        ([[1.0]], "sides", 78, "has no job 'sides'; its jobs are side"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, samples: object, job: str, code: int, words: str) -> None:
    done = predict(tmp_path, samples, job)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip", b"\x93NUMPY"])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    file = write_agent(tmp_path)
    (tmp_path / "in.npz").write_bytes(content)
    done = agent("predict", "side", tmp_path / "in.npz", "-o", tmp_path / "out.npz", "--config", file)
    assert (done.returncode, "in.npz: is no .npz file of arrays" in done.stderr) == (2, True), done.stderr
