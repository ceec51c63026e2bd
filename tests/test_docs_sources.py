"""The page about sources: its settings are right, and its commands (`printf`, `edge-agent run`) work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent import Agent
from tests.support.console import commands
from tests.support.small_agent import write_agent

PAGE = Path(__file__).parent.parent / "docs/sources.md"
JOBS = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def write(folder: Path, job: str) -> Path:
    np.savez(folder / "digits.npz", w0=np.zeros((64, 10), "float32"), b0=np.zeros(10, "float32"))
    (printer,) = re.findall(r"```python\n(def show.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (folder / "printer.py").write_text(printer)
    return write_agent(folder, jobs=job)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.splitlines()[0])
def test_the_settings_are_right(tmp_path: Path, job: str) -> None:
    Agent.from_config(write(tmp_path, job))


def test_the_commands_do_what_the_page_says(tmp_path: Path) -> None:
    (job,) = [job for job in JOBS if "stdin" in job]
    write(tmp_path, job)
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in list(commands(PAGE, "sources.md")):
        serves = command.text.startswith("edge-agent run")
        shell = ["bash", "-c", f"exec {command.text}" if serves else command.text]
        program = subprocess.Popen(shell, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True)
        try:
            assert program.stdout is not None
            assert [program.stdout.readline().rstrip() for _ in command.output] == command.output
        finally:
            if serves:
                program.terminate()
            assert program.wait(20.0) == 0
