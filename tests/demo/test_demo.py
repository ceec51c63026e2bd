"""`scripts/demo`, on fewer digits: the kills and the cut happen, nothing is lost, and nothing is left behind."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.support.brokers import ROOT


@pytest.mark.serial
@pytest.mark.timeout(150)
def test_the_demo_loses_nothing_and_answers_better_than_the_edge(tmp_path: Path) -> None:
    file, folder = tmp_path / "demo.json", tmp_path / "kept"
    done = subprocess.run(
        [ROOT / "scripts/demo", "--samples", "300", "--epochs", "20", "--storm", "9", "--json", file, "--keep", folder],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert [found[name] for name in ("lost", "dropped", "duplicated", "refused", "waiting")] == [0] * 5
    assert found["joint_accuracy"] >= found["edge_accuracy"] + 0.03
    assert 0.05 < found["offload_share"] <= 0.3
    assert found["cloud_accuracy"] >= 0.96
    assert found["kills"] == 2
    assert [event.split("  ")[-1].split(" ")[0] for event in found["events"]] == [
        "SIGKILL",
        "SIGKILL",
        "cut",
        "stopped",
    ]
    assert "What to try next" in done.stdout
    assert lost_after_a_sample_vanished(folder) == 1


def lost_after_a_sample_vanished(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "hub" / "data" / "hub.db")) as database, database:
        database.execute("DELETE FROM samples WHERE id = (SELECT min(id) FROM samples)")
    command = [sys.executable, "-m", "scripts.demos.digits.audit", str(folder)]
    return int(json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)["lost"])


@pytest.mark.timeout(150)
def test_a_demo_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts/demo"), "--samples", "300", "--epochs", "1"]
    environ = {**psutil.Process().environ(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as demo:
        assert demo.stdout is not None
        assert any(line.startswith(b"starting") for line in demo.stdout)
        started: list[psutil.Process] = []
        while len(started) < 5:  # the hub, its broker, three agents
            time.sleep(0.05)
            started = psutil.Process(demo.pid).children(recursive=True)
        assert len(list(tmp_path.glob("skerry-demo-*"))) == 1
        demo.terminate()
        assert demo.wait(30) == 128 + 15
    _, left = psutil.wait_procs(started, timeout=10)
    for process in left:
        process.kill()
    assert left == []
    assert list(tmp_path.glob("skerry-demo-*")) == []
