"""`cloud-hub offload`: rates are differences of reports, accuracies are honest about what nobody looked at."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.offload.estimates import Estimate, Stratum, overall, share
from cloud_hub.store.database import HubDatabase
from cloud_hub.store.folder import opened, reading
from cloud_hub.store.protocol import Verdict
from cloud_hub.web.families import render
from cloud_hub.web.offload import collect
from messages.shapes import Alarm, Classes, HardSample, Report
from messages.tensors import pack
from tests.support.commands import hub
from tests.support.leftovers import AT

MINUTE = 60_000
SHIFT = Alarm(number=1, kind="shift", at=AT, text="far away")


def report(session: int, counters: dict[str, float], budget: float = 0.2, alarms: tuple[Alarm, ...] = ()) -> Report:
    return Report(
        event_id="s.1", timestamp=1, job="digits", session=session, counters=counters, gauges={"budget": budget},
        alarms=alarms,
    )  # fmt: skip


def counters(samples: int, sent: int, chance: int = 0) -> dict[str, float]:
    return {"all": samples, "hard": sent, "reason.audit": chance, "audits": chance, "bytes_sent": 100.0 * sent}


class Desk:
    """A hub's folder, and what its command says of it."""

    def __init__(self, folder: Path, store: HubDatabase) -> None:
        self.folder = folder
        self.store = store
        self._samples = 0
        (folder / "hub.toml").write_text("[jobs.digits]\n[http]\nport = 0\n")

    def report(self, minute: int, given: Report, node: str = "cam-1") -> None:
        with self.store.transaction():
            self.store.save_report(node, given, AT + minute * MINUTE)

    def sample(
        self, minute: int, edge: int, cloud: int | None, *, chance: bool = False, node: str = "cam-1",
        reason: str = "hard",
    ) -> str:  # fmt: skip
        self._samples += 1
        sample_id = f"sample-{self._samples}"
        sample = HardSample(
            event_id="s.1", timestamp=1, job="digits", sample_id=sample_id, x=pack(np.ones(2, "float32")),
            edge=one(edge), reason="audit" if chance else reason, audit=chance,
        )  # fmt: skip
        with self.store.transaction():
            self.store.add_sample(node, sample, b"digest", AT + minute * MINUTE)
            if cloud is not None:
                self.store.answer(Verdict(self._samples, one(cloud)), "big", AT)
        return sample_id

    def label(self, labels: dict[str, int]) -> None:
        file = self.folder / "labels.csv"
        file.write_text("sample_id,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items()))
        assert hub("labels", "import", "digits", file, "--config", self.folder / "hub.toml").returncode == 0

    def text(self, *arguments: object) -> str:
        done = hub("offload", "digits", "--config", self.folder / "hub.toml", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, begin: int = 0, end: int = 10_000) -> dict[str, dict[str, object]]:
        times = [moment_of(minute) for minute in (begin, end)]
        found = json.loads(self.text("--json", "--since", times[0], "--until", times[1]))
        return {row["node"]: row for row in (*found["nodes"], found["all"])}


def one(label: int) -> Classes:
    return Classes(probs=tuple(float(label == number) for number in range(10)))


def moment_of(minute: int) -> str:
    return str(np.datetime64(AT + minute * MINUTE, "ms")) + "+00:00"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("COLUMNS", "300")
    with opened(tmp_path / "data", quarantine_rows=100, dead_rows=100) as store:
        yield Desk(tmp_path, store)


def test_the_rate_of_a_period_is_what_was_counted_in_it_over_restarts_too(desk: Desk) -> None:
    desk.report(1, report(1, counters(100, 30)))
    desk.report(2, report(1, counters(200, 40)))
    desk.report(3, report(1, counters(200, 40)))
    desk.report(4, report(2, counters(50, 5), budget=0.05))
    desk.report(4, report(1, counters(900, 900)))
    found = desk.rows()["cam-1"]
    assert (found["samples"], found["sent"], found["rate"], found["budget"]) == (250, 45, 0.18, 0.05)
    assert (found["bytes"], found["audits"]) == (4500, 0)
    found = desk.rows(1, 3)["cam-1"]
    assert (found["samples"], found["sent"], found["budget"]) == (100, 10, 0.2)
    assert desk.rows(2, 9)["cam-1"]["rate"] == 0.1


def test_agreement_is_counted_on_answered_audits_only(desk: Desk) -> None:
    desk.report(1, report(1, counters(100, 30, 3)))
    for minute, edge, cloud, chance in ((1, 1, 1, True), (1, 1, 2, True), (1, 3, None, True), (1, 4, 5, False)):
        desk.sample(minute, edge, cloud, chance=chance)
    found = desk.rows()["cam-1"]
    assert found["agreement"] == {"value": 0.5, "low": pytest.approx(0.0126, abs=1e-4),
                                  "high": pytest.approx(0.9874, abs=1e-4), "samples": 2}  # fmt: skip
    assert (found["edge_accuracy"], found["joint_accuracy"]) == (None, None)
    assert "no labels" in desk.text()


def test_the_joint_accuracy_takes_sent_samples_by_the_clouds_answer_and_kept_ones_from_audits(desk: Desk) -> None:
    """Ten hard ones, all labelled: 9 right in the cloud, 2 on the edge. Of four audits 3 are right on the edge."""
    labels = {desk.sample(1, edge=int(n < 2), cloud=int(n < 9)): 1 for n in range(10)}
    labels |= {desk.sample(1, edge=int(n < 3), cloud=1, chance=True): 1 for n in range(4)}
    desk.report(1, report(1, counters(100, 14, 4)))
    desk.label(labels)
    found = desk.rows()["cam-1"]
    edge, joint = found["edge_accuracy"], found["joint_accuracy"]
    assert isinstance(joint, dict)
    assert isinstance(edge, dict)
    assert joint["value"] == pytest.approx((9 + 4 + 86 * 0.75) / 100)
    assert edge["value"] == pytest.approx((2 + 3 + 86 * 0.75) / 100)
    kept = share(3, 4)
    assert kept is not None
    assert (joint["low"], joint["high"]) == pytest.approx(((13 + 86 * kept.low) / 100, (13 + 86 * kept.high) / 100))
    assert "77.5 [" in desk.text()


def test_what_was_held_back_is_taken_to_be_like_what_was_sent_for_that_reason(desk: Desk) -> None:
    """All of it easy or held back: 2 of 4 shifted ones are right on the edge, 3 of 4 hard ones, 4 of 4 easy ones."""
    labels = {desk.sample(1, edge=int(n < 2), cloud=1, reason="shifted"): 1 for n in range(4)}
    labels |= {desk.sample(1, edge=int(n < 3), cloud=1): 1 for n in range(4)}
    labels |= {desk.sample(1, edge=1, cloud=1, chance=True): 1 for n in range(4)}
    more = {"reason.over budget": 50.0, "reason.link down": 8.0, "low_trust": 40.0}
    desk.report(1, report(1, counters(100, 12, 4) | more))
    desk.label(labels)
    joint = desk.rows()["cam-1"]["joint_accuracy"]
    assert isinstance(joint, dict)
    assert joint["value"] == pytest.approx((12 + 30 + 40 * 0.5 + 18 * 0.75) / 100)
    assert joint["low"] < joint["value"] - 0.2


def test_all_nodes_together_have_a_row(desk: Desk) -> None:
    for node, right in (("cam-1", 3), ("cam-2", 1)):
        names = [desk.sample(1, edge=int(n < right), cloud=1, chance=True, node=node) for n in range(4)]
        desk.label(dict.fromkeys(names, 1))
        desk.report(1, report(1, counters(100, 4, 4)), node=node)
    found = desk.rows()["all nodes"]
    joint = found["joint_accuracy"]
    assert isinstance(joint, dict)
    assert (found["samples"], found["sent"], found["budget"], found["alarms"]) == (200, 8, None, [])
    assert joint["value"] == pytest.approx((8 + 192 * 0.5) / 200)
    assert "all nodes" in desk.text()


def test_a_part_of_which_nothing_is_known_makes_the_interval_wider(desk: Desk) -> None:
    names = [desk.sample(1, edge=1, cloud=1, chance=True) for _ in range(90)]
    desk.report(1, report(1, counters(200, 90, 90) | {"reason.over budget": 10.0, "low_trust": 10.0}))
    desk.label(dict.fromkeys(names, 1))
    joint = desk.rows()["cam-1"]["joint_accuracy"]
    assert isinstance(joint, dict)
    assert joint["value"] == pytest.approx((190 + 5) / 200)
    assert joint["high"] == 1.0
    assert joint["low"] < 0.95


def test_few_easy_samples_may_go_without_an_audit(desk: Desk) -> None:
    labels = dict.fromkeys([desk.sample(1, edge=0, cloud=1) for _ in range(90)], 1)
    desk.label(labels)
    for number, samples in enumerate((99, 101), 1):
        desk.report(number, report(number, counters(samples, 90)), node=f"cam-{number}")
    labels = dict.fromkeys([desk.sample(2, edge=0, cloud=1, node="cam-2") for _ in range(90)], 1)
    desk.label(labels)
    found = desk.rows()
    assert found["cam-1"]["joint_accuracy"] == pytest.approx(
        {"value": 94.5 / 99, "low": 90 / 99, "high": 1.0, "samples": 90}
    )
    assert found["cam-2"]["joint_accuracy"] is None


def test_without_audits_nothing_is_said_of_what_was_kept(desk: Desk) -> None:
    labels = {desk.sample(1, edge=1, cloud=1): 1 for _ in range(3)}
    desk.report(1, report(1, counters(100, 3)))
    desk.label(labels)
    assert desk.rows()["cam-1"]["joint_accuracy"] is None
    assert "no audits with labels" in desk.text()
    desk.report(2, report(2, counters(3, 3)), node="cam-2")
    for name in [desk.sample(2, edge=0, cloud=1, node="cam-2") for _ in range(3)]:
        desk.label({name: 1})
    assert desk.rows()["cam-2"]["joint_accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0, "samples": 3}


def test_alarms_are_told_until_they_are_over_or_the_agent_is_another(desk: Desk) -> None:
    other = Alarm(number=2, kind="over budget", at=AT + MINUTE)
    desk.report(1, report(1, counters(10, 1), alarms=(SHIFT,)))
    desk.report(3, report(1, counters(20, 2), alarms=(Alarm(number=1, kind="shift", at=AT, until=AT + 9), other)))
    desk.report(5, report(2, counters(20, 2)))
    alarms = desk.rows(0, 2)["cam-1"]["alarms"]
    assert alarms == [{"kind": "shift", "at": AT, "until": AT + 9, "text": ""}]
    assert [alarm["kind"] for alarm in listed(desk, 2, 4)] == ["shift", "over budget"]
    assert [alarm["kind"] for alarm in listed(desk, 3, 6)] == ["over budget"]
    assert listed(desk, 6, 9) == []
    assert "over budget since" in desk.text()


def listed(desk: Desk, begin: int, end: int) -> list[dict[str, object]]:
    found = desk.rows(begin, end)["cam-1"]["alarms"]
    assert isinstance(found, list)
    return found


def test_old_reports_make_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.store.figures.MARK_ROWS", 20)
    with desk.store.transaction():
        for number in range(512):
            desk.store.save_report("cam-1", report(1, counters(number, 0)), AT + MINUTE)
    assert desk.store.connection.execute("SELECT count(*) FROM report_marks").fetchone() == (20,)
    assert desk.rows()["cam-1"]["samples"] == 511


def test_shares_have_exact_intervals_and_parts_that_are_known_have_none() -> None:
    assert share(0, 0) is None
    whole = share(59, 59)
    assert whole is not None
    assert (round(whole.low, 4), whole.high) == (0.9394, 1.0)
    assert overall([]) is None
    assert overall([Stratum(10, 0, 0), Stratum(5, 5, 5)]) is None
    assert overall([Stratum(10, 10, 5), Stratum(0, 0, 0)]) == Estimate(0.5, 0.5, 0.5, 10)
    half = overall([Stratum(10, 10, 10), Stratum(10, 5, 5)])
    exact = share(5, 5)
    assert half is not None
    assert exact is not None
    assert (half.value, half.low) == pytest.approx((1.0, 0.5 + 0.5 * exact.low))


def test_what_is_no_time_is_said(desk: Desk) -> None:
    done = hub("offload", "digits", "--config", desk.folder / "hub.toml", "--until", "soon")
    assert (done.returncode, "--until: 'soon': write 90s" in done.stderr) == (2, True)
    assert "no reports yet" in desk.text()


def test_the_same_figures_are_there_for_prometheus(desk: Desk) -> None:
    desk.report(1, report(1, counters(100, 30, 2), alarms=(SHIFT,)))
    desk.report(1, report(1, {"all": 0.0, "hard": 0.0}), node="cam-2")
    for edge in (1, 2):
        desk.sample(1, edge, 1, chance=True)
    with reading(desk.folder / "data") as reader:
        lines = render(collect(reader)).splitlines()
    for line in (
        'hub_edge_inferences_total{job="digits",node="cam-1",result="local"} 70',
        'hub_edge_inferences_total{job="digits",node="cam-1",result="offloaded"} 30',
        'hub_offload_rate_ratio{job="digits",node="cam-1"} 0.3',
        'hub_offload_budget_ratio{job="digits",node="cam-2"} 0.20000000000000001',
        'hub_edge_agreement_ratio{job="digits",node="cam-1"} 0.5',
        'hub_alarms{job="digits",node="cam-1",kind="shift"} 1',
    ):
        assert line.replace("0.3", "0.29999999999999999") in lines
    assert not [line for line in lines if line.startswith("hub_offload_rate_ratio{") and "cam-2" in line]
