"""The two programs as processes of their own, for stories about their logs and exit codes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

from tests.support.brokers import ROOT
from tests.support.small_agent import write_agent

PROGRAMS = {"agent": ("edge_agent.cli", "agent.toml"), "hub": ("cloud_hub.cli", "hub.toml")}
NOBODY = "mqtt://127.0.0.1:1"
"""A broker that is not there."""


def write(program: str, folder: Path, *, more: str = "") -> None:
    """A config that works, for a broker that is not there. `more` are lines for the top level, or tables."""
    if program == "agent":
        write_agent(folder, more=more)
        return
    folder.mkdir(exist_ok=True)
    mqtt = "" if "[broker]" in more else f'[mqtt]\nurl = "{NOBODY}"\n'
    http = "" if "[http]" in more else "[http]\nport = 0\n"
    (folder / "hub.toml").write_text(f"{more}\n{mqtt}{http}[limits]\ndisk_reserve = 0\n[jobs.side]\n")


@contextmanager
def running(program: str, folder: Path) -> Iterator[Popen[str]]:
    """A program with the config of its folder, which is killed at the end if it still runs."""
    module, config = PROGRAMS[program]
    command = [sys.executable, "-m", module, "run", "--config", config]
    with Popen(command, cwd=folder, stderr=PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: Popen[str], words: str) -> str:
    """The next line of the log with these words."""
    assert process.stderr is not None
    for line in process.stderr:
        assert "Traceback" not in line
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}")


def stopped(process: Popen[str]) -> None:
    """SIGTERM, which is no error."""
    process.terminate()
    _, log = process.communicate(timeout=10.0)
    assert (process.returncode, "Traceback" in log) == (0, False), log


def ended(process: Popen[str], code: int) -> str:
    """Wait for the end of a program that cannot go on; its one error line."""
    _, log = process.communicate(timeout=20.0)
    assert (process.returncode, "Traceback" in log) == (code, False), log
    (line,) = [line for line in log.splitlines() if " ERROR " in line]
    return line


def ends(program: str, folder: Path, code: int) -> str:
    """Run a program that cannot go on; its one error line."""
    with running(program, folder) as process:
        return ended(process, code)
