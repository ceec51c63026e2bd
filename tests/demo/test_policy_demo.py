"""`scripts/demo policy`, on fewer digits: budgets are kept, the bad camera is noticed, hub and agents say the same."""

import copy
import json
import subprocess
from pathlib import Path

import pytest

from scripts.demos.policy.report import disagreements
from tests.support.brokers import ROOT


@pytest.mark.timeout(240)
def test_the_budget_is_kept_and_what_the_hub_says_is_what_the_agents_did(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    done = subprocess.run(
        [ROOT / "scripts/demo", "policy", "--samples", "200", "--length", "3", "--json", file],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert [found[name] for name in ("lost", "dropped", "duplicated", "refused", "waiting")] == [0] * 5
    calibrated, frugal, noise = (found["phases"][name] for name in ("calibrated 0.2", "budget 0.05", "noise"))
    assert [row["samples"] for row in calibrated.values()] == [200, 200, 200, 600]
    assert (calibrated["device-1"]["budget"], frugal["device-1"]["budget"]) == (0.2, 0.05)
    assert 0.12 <= calibrated["all nodes"]["rate"] <= 0.24
    assert frugal["all nodes"]["rate"] <= 0.1
    assert calibrated["all nodes"]["agent"]["joint_accuracy"] >= 0.92
    assert "shift" in noise["device-1"]["alarms"]
    assert noise["device-1"]["rate"] >= 0.3
    assert noise["device-2"]["rate"] <= 0.1
    assert calibrated["device-1"]["alarms"] == noise["device-2"]["alarms"] == []
    assert "What to try next" in done.stdout
    look_closely(found["phases"])


def look_closely(phases: dict[str, dict[str, dict[str, object]]]) -> None:
    """The demo's own judge notices a sample that is missing, an alarm that nobody raised, and a wrong accuracy."""
    assert disagreements(phases) == []
    for name, value, words in (
        ("sent", 7, "noise, device-1: sent"),
        ("alarms", [], "noise, device-1: alarms [] here"),
        ("joint_interval", [0.1, 0.2], "noise, device-1: joint accuracy 0.100 to 0.200"),
    ):
        other = copy.deepcopy(phases)
        other["noise"]["device-1"][name] = value
        (problem,) = disagreements(other)
        assert problem.startswith(words)
    assert disagreements({"noise": {}}) == ["noise: the hub's table has nobody"]
