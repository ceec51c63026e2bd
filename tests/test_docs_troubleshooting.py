"""The page about troubles: its commands (`edge-agent`, `cloud-hub`, `SKERRY_BEAT_S=10 ...`) do what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_hub.store.folder import opened
from edge_agent import storage
from tests.support.big_models import write_models
from tests.support.console import commands
from tests.support.leftovers import bury_reports, quarantine
from tests.support.ports import free_port
from tests.support.small_agent import write_agent

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
CHANGES = re.compile(r"Python \S+ on \w+, skerry \S+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00|\d+ MiB|\s+")
"""What is another on every machine and day; and columns are as wide as what stands in them."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An agent with two dead letters, and a hub with a model and some bad bytes."""
    write_agent(tmp_path)
    with storage.opened(tmp_path / "data", full=False) as store:
        bury_reports(store, 2)
    write_models(tmp_path)
    job = '[jobs.digits]\npredictor = "big:sides"\ninput = {dtype = "float32", shape = [2]}\n'
    (tmp_path / "hub.toml").write_text(f"[broker]\nport = 1883\n[http]\nport = 0\n[limits]\ndisk_reserve = 0\n{job}")
    with opened(tmp_path / "data", quarantine_rows=9, dead_rows=9) as store:
        quarantine(store, 1)
    return tmp_path


def test_the_commands_do_what_the_page_says(folder: Path) -> None:
    port = str(free_port())
    for file in (folder / "agent.toml", folder / "hub.toml"):
        file.write_text(file.read_text().replace("127.0.0.1:1", f"127.0.0.1:{port}").replace("1883", port))
    programs = Path(sys.executable).parent
    environ = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "TZ": "UTC", "COLUMNS": "140"}
    for command in list(commands(PAGE, "troubleshooting.md")):
        done = subprocess.run(["bash", "-c", command.text], cwd=folder, env=environ, capture_output=True, text=True,
                              check=False)  # fmt: skip
        shown = [
            CHANGES.sub(" ", line)
            for line in done.stdout.replace(port, "1883").replace(str(folder), "/home/me").splitlines()
        ]
        assert [line for line in command.output if CHANGES.sub(" ", line) not in shown] == [], done.stdout + done.stderr
        assert done.returncode == (1 if any(line.startswith("fail") for line in command.output) else 0), done.stderr


def test_every_check_is_on_the_page() -> None:
    named = set(re.findall(r'(?:ok|warn|fail)\(\s*"([a-z][^"]*)"', _code()))
    table = PAGE.read_text().partition("## What is checked")[2].partition("## Exit codes")[0]
    assert {name for name in named if name not in table} == {"broker.cert_file"}


def _code() -> str:
    files = ("edge_agent/doctor.py", "cloud_hub/doctor.py", "messages/desk/checks.py", "messages/desk/checkup.py")
    return "".join((ROOT / file).read_text() for file in files)
