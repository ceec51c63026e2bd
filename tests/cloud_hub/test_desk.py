"""The commands that look after a hub: samples, dead letters, quarantine, settings."""

import json
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.store.folder import opened
from cloud_hub.store.protocol import NodeRecord, Verdict
from messages.desk.leftovers import Page, dead_letters, moment
from messages.shapes import Classes, HardSample, NodeStatus
from messages.tensors import pack
from tests.support.commands import hub
from tests.support.leftovers import AT, bury_answer, quarantine


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with opened(tmp_path / "data", quarantine_rows=100, dead_rows=100) as store:
        bury_answer(store)
        quarantine(store, 1)
        with store.transaction():
            for number, node in enumerate(["cam-1", "cam-1", "cam-2"]):
                sample = HardSample(
                    event_id=f"s.{number}", timestamp=1, job="digits", sample_id=f"sample-{number}",
                    x=pack(np.ones(2, "float32")), edge=Classes(probs=(0.5, 0.5)), reason="hard",
                )  # fmt: skip
                store.add_sample(node, sample, b"digest", AT + 60_000 * number)
            store.answer(Verdict(2, Classes(probs=(0.0, 1.0))), "big", AT + 90_000)
    path = tmp_path / "hub.toml"
    path.write_text("[jobs.digits]\n[http]\nport = 0\n")
    return path


def samples(file: Path, *arguments: object) -> list[int]:
    return [row["id"] for row in json.loads(hub("samples", "--config", file, "--json", *arguments).stdout)]


def test_samples_are_listed_by_node_answer_and_page(file: Path) -> None:
    assert samples(file) == [1, 2, 3]
    assert samples(file, "--node", "cam-1", "--waiting") == [1]
    assert samples(file, "--answered", "--job", "digits") == [2]
    assert samples(file, "--after", 1, "--limit", 1, "--since", moment(AT + 30_000)) == [2]
    text = hub("samples", "--config", file, "--limit", 2).stdout
    assert "sample-1" in text
    assert '{"type":"classes","probs":[0.0,1.0]}' in text
    assert moment(AT + 90_000) in text
    assert "more: --after 2" in text


def test_nodes_are_listed_by_state_and_page(file: Path) -> None:
    with opened(file.parent / "data", quarantine_rows=100, dead_rows=100) as store, store.transaction():
        for number in range(3):
            status = NodeStatus(event_id="s", timestamp=AT, state="online", session=1)
            store.save_node(NodeRecord(f"cam-{number}", status, AT, online=number == 1))

    def names(*arguments: object) -> list[str]:
        found = json.loads(hub("nodes", "--config", file, "--json", *arguments).stdout)
        return [row["node"] for row in found]

    assert names() == ["cam-0", "cam-1", "cam-2"]
    assert names("--online") == ["cam-1"]
    assert names("--offline", "--after", "cam-0") == ["cam-2"]
    assert "more: --after cam-1" in hub("nodes", "--config", file, "--limit", 2).stdout


def test_dead_letters_are_listed_shown_and_retried_but_not_while_the_hub_runs(file: Path) -> None:
    assert json.loads(hub("dead-letters", "list", "--config", file, "--json").stdout)[0]["peer"] == "device-1"
    assert "'sample_id': 'first'" in hub("dead-letters", "show", 1, "--config", file).stdout
    with opened(file.parent / "data", quarantine_rows=100, dead_rows=100):
        refused = hub("dead-letters", "retry", "--all", "--config", file)
        assert refused.returncode == 1
        assert "the hub runs, and would not notice: stop it, then try again" in refused.stderr
    assert json.loads(hub("dead-letters", "retry", 1, "--config", file, "--json").stdout) == {"retried": [1]}
    with opened(file.parent / "data", quarantine_rows=100, dead_rows=100) as store:
        assert dead_letters(store.connection, Page()) == []
        assert store.peers() == ["device-1"]


def test_what_a_stranger_sent_is_shown_and_dropped_while_the_hub_runs(file: Path) -> None:
    with opened(file.parent / "data", quarantine_rows=100, dead_rows=100):
        assert "default/skerry/v1/cam-0/up/sample" in hub("quarantine", "list", "--config", file).stdout
        assert r"head: b'\xff\x00[b]'" in hub("quarantine", "show", 1, "--config", file).stdout
        assert hub("quarantine", "drop", "--all", "--config", file).stdout == "dropped 1\n"
        assert hub("quarantine", "list", "--config", file).stdout == "nothing\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dead-letters", "drop"], 2, "name the rows by their ids, or say --all"),
        (["samples", "--since", "soon"], 2, "--since: 'soon': write 90s, 15m, 2h or 3d"),
        (["quarantine", "show", "7"], 1, "there is no row 7"),
    ],
)
def test_what_cannot_be_done_is_said(file: Path, arguments: list[str], code: int, words: str) -> None:
    done = hub(*arguments, "--config", file)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_settings_are_shown_with_their_origin(file: Path) -> None:
    found = json.loads(hub("config", "show", "--config", file, "--json").stdout)
    assert {"key": "http.port", "value": 0, "origin": f"{file}:3"} in found
    assert {"key": "limits.rows", "value": 1_000_000, "origin": "default"} in found
    assert "http.port = 0" in hub("config", "show", "--origin", "--config", file).stdout
