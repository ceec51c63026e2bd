"""The same files in tflite-runtime on an old NumPy and in ai-edge-litert on newer Pythons: the same predictions."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_agent.engines import load
from edge_agent.engines.golden import row
from tests.support.brokers import ROOT
from tests.support.described import FILES, description, digits
from tests.support.pythons import environment

NAMES = ("mlp.tflite", "cnn.tflite", "mlp-int8.tflite", "cnn-int8.tflite")
ROWS = 100

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from edge_agent.engines import load
from edge_agent.engines.golden import row
from messages import models
from messages.host import trial

x, found = np.load("x.npy"), {}
for name in sys.argv[1:]:
    report = trial.run(trial.Trial(file=name))
    assert not report.reason, report.reason
    engine = load.for_file(Path(name))
    found[name] = [row(engine.predict(each)) for each in x]
print(json.dumps([report.runtime, np.__version__, found]))
"""


HOSTILE = """
import sys
from pathlib import Path
from random import Random
from messages.host import trial

good, random, found = Path("mlp.tflite").read_bytes(), Random(3), []
for _ in range(40):
    raw = bytearray(good)
    for _ in range(6):
        raw[random.randrange(len(raw))] = random.randrange(256)
    Path("mlp.tflite").write_bytes(raw)
    found.append(trial.run(trial.Trial(file="mlp.tflite")).reason)
print(sum("SIGSEGV" in reason for reason in found), sum(not reason for reason in found), len(found))
"""


@pytest.mark.extra
@pytest.mark.timeout(600)
def test_a_runtime_that_damaged_files_crash_takes_only_its_trial_along(tmp_path: Path) -> None:
    python = environment("3.11", tmp_path / "venv", "tflite-runtime==2.14.0", "numpy==1.26.4", "msgspec")
    placed(tmp_path, "mlp.tflite")
    done = subprocess.run(
        [python, "-c", HOSTILE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    crashed, _, tried = map(int, done.stdout.split())
    assert tried == 40
    assert crashed > 0


def placed(folder: Path, name: str) -> None:
    """A model file with its description."""
    from messages import models

    (folder / name).write_bytes((FILES / name).read_bytes())
    (folder / f"{name}.json").write_bytes(models.write(description(FILES / name)))


@pytest.mark.extra
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("version", "runtime", "packages"),
    [
        ("3.11", "tflite-runtime 2.14.0", ("tflite-runtime==2.14.0", "numpy==1.26.4", "msgspec")),
        ("3.12", "ai-edge-litert 2.3.0", ("ai-edge-litert==2.3.0", "numpy", "msgspec")),
        ("3.13", "ai-edge-litert 2.3.0", ("ai-edge-litert==2.3.0", "numpy", "msgspec")),
    ],
)
def test_every_runtime_of_tflite_gives_the_same(
    tmp_path: Path, version: str, runtime: str, packages: tuple[str, ...]
) -> None:
    python = environment(version, tmp_path / "venv", *packages)
    np.save(tmp_path / "x.npy", digits()[0][:ROWS])
    for name in NAMES:
        placed(tmp_path, name)
    done = subprocess.run(
        [python, "-c", PROGRAM, *NAMES], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    used, _, found = json.loads(done.stdout)
    assert used == runtime
    for name in NAMES:
        here = load.tried(FILES / name, description(FILES / name))
        expected = np.array([row(here.predict(x)) for x in digits()[0][:ROWS]])
        near = 0.1 if "int8" in name else 1e-5  # a kernel may round to the next step of 1/10 in a logit
        np.testing.assert_allclose(np.array(found[name]), expected, atol=near)
        assert (np.array(found[name]).argmax(1) == expected.argmax(1)).mean() >= 0.99
