"""The commands that look after an agent, beside an agent that runs or not."""

import json
import subprocess
from pathlib import Path

import pytest

from edge_agent import storage
from messages.desk.leftovers import Page, dead_letters, moment
from tests.support.commands import agent
from tests.support.leftovers import AT, bury_reports, quarantine
from tests.support.small_agent import write_agent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with storage.opened(tmp_path / "data", full=False) as store:
        bury_reports(store, 3)
        quarantine(store, 1)
    return write_agent(tmp_path)


def test_dead_letters_are_listed_shown_dropped_and_retried(file: Path) -> None:
    listed = agent("dead-letters", "list", "--config", file, "--limit", 2)
    assert listed.stdout.splitlines() == [
        "id  at                         peer  path       job     key    reason            size",
        f"1   {moment(AT)}  hub   up/report  digits  key-0  refused: no good  79",
        f"2   {moment(AT + 60_000)}  hub   up/report  digits  key-1  refused: no good  79",
        "more: --after 2",
    ]
    rest = agent("dead-letters", "list", "--config", file, "--after", 2, "--json", "--job", "digits")
    assert [row["id"] for row in json.loads(rest.stdout)] == [3]
    shown = agent("dead-letters", "show", 1, "--config", file, "--json")
    assert json.loads(shown.stdout)["body"]["counters"] == {"all": 0.0}
    assert agent("dead-letters", "drop", 2, "--config", file).stdout == "dropped 1\n"
    assert agent("dead-letters", "retry", "--all", "--config", file).stdout == (
        "2 back in the outbox: they go at the next start\n"
    )
    with storage.opened(file.parent / "data", full=False) as store:
        assert dead_letters(store.connection, Page()) == []
        assert store.peers() == ["hub"]


def test_while_the_agent_runs_one_may_look_and_drop_but_not_retry(file: Path) -> None:
    with storage.opened(file.parent / "data", full=False):
        refused = agent("dead-letters", "retry", 1, "--config", file)
        assert refused.returncode == 1
        assert "the agent runs, and would not notice: stop it, then try again" in refused.stderr
        assert json.loads(agent("dead-letters", "drop", 1, "--config", file, "--json").stdout) == {"dropped": 1}
        assert "first byte 0xff" in agent("quarantine", "list", "--config", file).stdout
        assert r"head: b'\xff\x00[b]'" in agent("quarantine", "show", 1, "--config", file).stdout
        assert agent("quarantine", "drop", "--all", "--config", file).stdout == "dropped 1\n"
        assert agent("quarantine", "list", "--config", file).stdout == "nothing\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dead-letters", "drop"], 2, "name the rows by their ids, or say --all"),
        (["dead-letters", "list", "--since", "soon"], 2, "'soon': write 90s, 15m, 2h or 3d"),
        (["quarantine", "show", "7"], 1, "there is no row 7 in quarantine"),
        (["quarantine", "retry", "7"], 2, "invalid choice: 'retry'"),
    ],
)
def test_what_cannot_be_done_is_said(file: Path, arguments: list[str], code: int, words: str) -> None:
    done = agent(*arguments, "--config", file)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_an_agent_that_never_ran_and_a_wrong_config(tmp_path: Path) -> None:
    file = write_agent(tmp_path)
    never = agent("dead-letters", "drop", "--all", "--config", file)
    assert never.returncode == 1
    assert f"{tmp_path}/data/agent.db: is not there; has this agent ever run?" in never.stderr
    assert not (tmp_path / "data").exists()
    wrong = agent("dead-letters", "list", "--config", write_agent(tmp_path, more="nod = 1"))
    assert (wrong.returncode, "nod: unknown key" in wrong.stderr) == (78, True)


def test_settings_are_shown_with_their_origin(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKERRY_BEAT_S", "7")
    shown = agent("config", "show", "--origin", "--config", file).stdout.splitlines()
    assert [line.split() for line in shown if line.startswith(("node", "beat_s", "payload"))] == [
        ["node", "=", '"device-1"', "#", f"{file}:1"],
        ["payload", "=", '"msgpack"', "#", "default"],
        ["beat_s", "=", "7.0", "#", "SKERRY_BEAT_S"],
    ]
    assert "#" not in agent("config", "show", "--config", file).stdout
    first = json.loads(agent("config", "show", "--config", file, "--json").stdout)[0]
    assert first == {"key": "node", "value": "device-1", "origin": f"{file}:1"}
    monkeypatch.setenv("SKERRY_TYPO__X", "7")
    typo = agent("config", "show", "--config", file)
    assert (typo.returncode, "SKERRY_TYPO__X: typo: unknown key" in typo.stderr) == (78, True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("do", {"doctor"}),
        ("dead-letters re", {"retry"}),
        ("dead-letters list --js", {"--json"}),
        ("config show --or", {"--origin"}),
        ("run --config agent.t", {"agent.toml"}),
        ("quarantine retry ", {"agent.toml", "data", "small.npz", "list", "show", "drop", "-h", "--help"}),
    ],
)
def test_bash_completes_the_words(file: Path, typed: str, offered: set[str]) -> None:
    words = f"COMP_WORDS=(edge-agent {typed}" + ('"")' if typed.endswith(" ") else ")")
    code = f'{words}; COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _edge_agent; printf "%s\\n" "${{COMPREPLY[@]}}"'
    script = agent("completion").stdout
    done = subprocess.run(["bash", "-c", script + code], cwd=file.parent, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered
