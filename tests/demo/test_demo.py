"""`scripts/demo`, on fewer digits: the kills and the cut happen, and nothing is lost."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.brokers import ROOT


@pytest.mark.serial
@pytest.mark.timeout(150)
def test_the_demo_loses_nothing_and_answers_better_than_the_edge(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    done = subprocess.run(
        [ROOT / "scripts/demo", "--samples", "300", "--storm", "9", "--json", file],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert (found["lost"], found["dropped"], found["duplicated"]) == (0, 0, 0)
    assert found["joint_accuracy"] >= found["edge_accuracy"] + 0.03
    assert 0.05 < found["offload_share"] <= 0.3
    assert found["cloud_accuracy"] >= 0.96
    assert [event.split("  ")[-1].split(" ")[0] for event in found["events"]] == [
        "SIGKILL",
        "SIGKILL",
        "cut",
        "stopped",
    ]
    assert "What to try next" in done.stdout
