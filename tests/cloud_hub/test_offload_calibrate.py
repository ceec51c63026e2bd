"""`cloud-hub calibrate`: a policy from a labelled file or from audits, set for the nodes, and fitted again in time."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from cloud_hub.calibration import Candidate, Fitted
from cloud_hub.config import HubSettings, JobSettings, load
from cloud_hub.jobs.recalibration import News, Spec, due
from cloud_hub.offload.again import Again
from cloud_hub.offload.examples import of_file
from cloud_hub.offload.fit import worse
from cloud_hub.offload.refit import again
from cloud_hub.store.folder import opened, reading
from cloud_hub.store.protocol import NodeRecord
from messages.bus.memory import MemoryBroker
from messages.codec import decode
from messages.offload.shapes import OffloadPolicy
from messages.settings.read import ConfigError
from messages.shapes import NodeStatus
from tests.support.big_models import write_models
from tests.support.calibrations import MODEL, audits, labelled
from tests.support.commands import hub
from tests.support.events import until
from tests.support.running_hub import hub as running_hub
from tests.support.running_hub import limits


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_models(tmp_path)
    with opened(tmp_path / "data", quarantine_rows=100, dead_rows=100):
        pass
    file = tmp_path / "hub.toml"
    file.write_text('[jobs.sides]\npredictor = "big:sides"\n[http]\nport = 0\n')
    return file


def calibrate(config: Path, *arguments: object) -> dict[str, Any]:
    done = hub("calibrate", "sides", "--config", config, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wanted(config: Path, node: str = "") -> OffloadPolicy | None:
    sql = "SELECT document FROM policies WHERE job = 'sides' AND node = ?"
    with reading(config.parent / "data") as reader:
        found = reader.execute(sql, (node,)).fetchone()
    return None if found is None else decode(OffloadPolicy, found[0])


def fill(config: Path, number: int, **more: Any) -> list[str]:
    with opened(config.parent / "data", quarantine_rows=100, dead_rows=100) as store:
        return audits(store, number, **more)


def label(config: Path, lines: list[str]) -> None:
    file = config.parent / "labels.csv"
    file.write_text("\n".join(["sample_id,label", *lines]))
    assert hub("labels", "import", "sides", file, "--config", config).returncode == 0


def test_a_labelled_file_becomes_the_policy_with_the_best_rule_and_the_terms_stay(config: Path) -> None:
    file = labelled(config.parent, 400)
    text = hub("calibrate", "sides", "--config", config, "--labelled", file).stdout
    assert "400 samples of edge model aaaaaaaaaaaa, 400 with labels" in text
    assert "share of the oracle's gain" in text
    assert "job sides: policy 1 for every node that has none of its own" in text
    hub("policy", "set", "sides", "--budget", 0.1, "--audit", 0.05, "--config", config)
    found = calibrate(config, "--labelled", file, "--node", "cam-1")
    assert (found["version"], found["samples"], found["bytes"] < 16_384) == (3, 400, True)
    assert found["shares"][found["rule"]] > 0.9 > found["shares"]["margin"]
    policy = wanted(config, "cam-1")
    assert policy is not None
    assert policy.terms is not None
    assert (policy.model, policy.terms.budget, policy.terms.audit) == (MODEL, 0.1, 0.05)


def test_a_dry_run_sets_nothing(config: Path) -> None:
    file = labelled(config.parent, 60)
    assert calibrate(config, "--labelled", file, "--dry-run")["version"] is None
    assert wanted(config) is None
    assert "nothing was set" in hub("calibrate", "sides", "--config", config, "--labelled", file, "--dry-run").stdout


def test_the_big_model_answers_what_a_file_leaves_open(config: Path) -> None:
    file = labelled(config.parent, 110, without="cloud")
    assert calibrate(config, "--labelled", file)["labels"] == 110
    config.write_text("[jobs.sides]\n")
    done = hub("calibrate", "sides", "--config", config, "--labelled", file)
    assert (done.returncode, "has no array cloud, and the job has no predictor" in done.stderr) == (1, True)
    config.write_text('[jobs.sides]\npredictor = "big:gone"\n')
    assert "the big model: big:gone" in hub("calibrate", "sides", "--config", config, "--labelled", file).stderr


def test_a_promise_of_quality_needs_labels_and_replaces_the_budget(config: Path) -> None:
    hub("policy", "set", "sides", "--budget", 0.1, "--config", config)
    done = hub("calibrate", "sides", "--config", config, "--labelled", labelled(config.parent, 55), "--quality", 0.95)
    assert (done.returncode, "55 labels do not allow a promise: 4 are missing" in done.stderr) == (1, True)
    perfect = labelled(config.parent, 200, edge=np.tile([0.01, 0.99], (200, 1)), y=np.ones(200, int))
    calibrate(config, "--labelled", perfect, "--quality", 0.9, "--confidence", 0.99)
    policy = wanted(config)
    assert policy is not None
    assert policy.promise is not None
    assert policy.terms is not None
    assert (policy.promise.confidence, policy.terms.quality, policy.terms.budget) == (0.99, 0.9, None)


def test_audits_of_one_edge_model_are_taken_with_the_labels_that_they_have(config: Path) -> None:
    lines = fill(config, 120)
    fill(config, 30, model="b" * 64)
    label(config, lines[:110])
    found = calibrate(config)
    assert (found["samples"], found["labels"]) == (120, 110)
    assert found["left_out"] == {"another edge model": 30}
    runs(config, "cam-1", MODEL)
    runs(config, "cam-2", "b" * 64)
    runs(config, "cam-3", MODEL)
    text = hub("calibrate", "sides", "--config", config).stdout
    assert "cam-2: runs model bbbbbbbbbbbb, and will refuse this policy" in text
    runs(config, "cam-3", "b" * 64)
    done = hub("calibrate", "sides", "--config", config)
    assert (done.returncode, "30 samples, at least 50 are needed: 20 are missing" in done.stderr) == (1, True)
    done = hub("calibrate", "sides", "--config", config, "--node", "cam-2")
    assert (done.returncode, "there are no audits yet" in done.stderr) == (1, True)


def runs(config: Path, node: str, model: str) -> None:
    with opened(config.parent / "data", quarantine_rows=100, dead_rows=100) as store, store.transaction():
        status = NodeStatus(event_id="s", timestamp=1, state="online", session=1, releases={"sides": model})
        store.save_node(NodeRecord(node, status, 1, online=True))


def test_of_many_audits_the_last_that_fit_into_memory_are_taken(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(config, 100)
    monkeypatch.setattr("cloud_hub.offload.examples.MOST_BYTES", 60 * 8)
    found = calibrate(config)
    assert (found["samples"], found["left_out"]) == (60, {"too old or not answered": 40})


FILES: dict[str, dict[str, Any]] = {
    "20 samples, at least 50 are needed: 30 are missing": {"number": 20},
    "has no array edge, model (edge-agent predict": {"without": "edge", "model": None},
    "has no array y": {"without": "y"},
    "y is float64[60]: use classes (n,), whole numbers": {"y": np.zeros(60)},
    "y is int64[60]: use classes": {"y": np.full(60, -1)},
    "cloud is float64[60, 2]: use classes": {"cloud": np.full((60, 2), np.nan)},
    "x (60, 2), y (60,), edge (59, 2)": {"edge": np.full((59, 2), 0.5)},
}


@pytest.mark.parametrize(("words", "change"), FILES.items(), ids=range(len(FILES)))
def test_what_is_wrong_with_a_file_is_said(config: Path, words: str, change: dict[str, Any]) -> None:
    more = {"number": 60} | {name: value for name, value in change.items() if value is not None}
    file = labelled(config.parent, **more)
    if "model" in change:
        with np.load(file) as found:
            arrays = {name: found[name] for name in found.files if name != "model"}
        np.savez(file, **arrays)
    done = hub("calibrate", "sides", "--config", config, "--labelled", file)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert wanted(config) is None


def test_rows_that_nobody_can_judge_are_left_out_and_counted(config: Path) -> None:
    edge = np.full((60, 2), 0.5)
    edge[:3] = np.nan
    edge[3] = 5.0
    assert calibrate(config, "--labelled", labelled(config.parent, 60, edge=edge))["left_out"] == {"invalid": 4}


@pytest.mark.parametrize(
    ("spec", "news", "reason"),
    [
        (Spec(audits=500), News(499, 10_000), ""),
        (Spec(audits=500), News(500, 0), "500 new audits"),
        (Spec(labels=100), News(9_000, 99), ""),
        (Spec(audits=500, labels=100), News(500, 100), "500 new audits and 100 new labels"),
    ],
)
def test_it_is_time_to_fit_again_when_so_much_is_new(spec: Spec, news: News, reason: str) -> None:
    assert due(news, spec) == reason


def test_a_setting_that_never_comes_true_is_refused(config: Path) -> None:
    config.write_text("[jobs.sides]\nrecalibrate = {}\n")
    with pytest.raises(ConfigError, match="say audits or labels"):
        load(config)


def test_the_policy_in_force_is_measured_on_the_same_samples(config: Path) -> None:
    """By margin one gets about half of what an oracle gains here."""
    examples = of_file(labelled(config.parent, 400))
    before = OffloadPolicy(job="sides", version=7)

    def fitted(share: float) -> Fitted:
        return Fitted(before, (Candidate("network", share, 0.05, True),), ())

    assert worse(fitted(0.1), before, examples).startswith("of the oracle's gain the new one has 0.10, policy 7 has 0.")
    assert worse(fitted(0.9), before, examples) == ""
    assert worse(fitted(0.1), None, examples) == ""
    assert worse(fitted(0.1), structs.replace(before, model="b" * 64), examples) == ""
    assert worse(Fitted(before, (), ()), before, examples) == ""


def test_a_policy_that_is_worse_is_not_set_and_not_tried_before_there_is_more_news(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = fill(config, 120)
    assert again(config.parent / "data", "sides", 5) == "policy 1: margin, from 120 audits, 0 with labels"
    label(config, lines)
    monkeypatch.setattr("cloud_hub.offload.fit.worse", lambda *_: "it is")
    assert again(config.parent / "data", "sides", 6) == "policy 1 stays: it is"
    policy = wanted(config)
    assert policy is not None
    assert (policy.version, policy.labels) == (1, 0)
    with reading(config.parent / "data") as reader:
        assert reader.execute("SELECT at, sample, label FROM calibrations").fetchall() == [(6, 120, 120)]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("cloud_hub.offload.again.EVERY_S", 0.05)


@pytest.mark.usefixtures("often")
async def test_a_hub_that_runs_looks_for_news_and_says_what_is_missing(
    config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(config, 20)
    settings = HubSettings(jobs={"sides": JobSettings(recalibrate=Spec(audits=20))}, limits=limits())
    async with running_hub(config.parent, MemoryBroker(), settings):
        missing = "could not be fitted again: 20 samples, at least 50 are needed: 30 are missing"
        await until(lambda: missing in caplog.text, within_s=40.0)
    assert "job sides: 20 new audits: fitting the offload policy again" in caplog.text


@pytest.mark.usefixtures("often")
async def test_a_policy_is_fitted_again_in_a_process_of_its_own(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(config, 55)
    task = asyncio.create_task(Again({"sides": Spec(audits=20)}, config.parent / "data").run())
    try:
        await until(lambda: "policy 1: margin, from 55 audits, 0 with labels" in caplog.text, within_s=40.0)
    finally:
        task.cancel()
        await asyncio.wait({task})
    policy = wanted(config)
    assert policy is not None
    assert (policy.version, policy.samples, policy.terms) == (1, 55, None)
    with reading(config.parent / "data") as reader:
        assert reader.execute("SELECT event FROM job_events").fetchone()[0].startswith(b'{"type":"Calibrated"')
