"""The pages about sources and hard samples: settings are right, commands (`printf`, `edge-agent run`) do work."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent import Agent
from tests.support.console import commands
from tests.support.small_agent import EASY, HARD, write_agent

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "sources.md"
TEXT = PAGE.read_text() + (DOCS / "hard-samples.md").read_text()
JOBS = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)


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


def test_the_rule_works(tmp_path: Path) -> None:
    (rule,) = re.findall(r"```python\n(from edge_agent.policies.*?)```", TEXT, flags=re.DOTALL)
    (tmp_path / "my_rules.py").write_text(rule)
    policy = 'policy = {use = "my_rules:unsure", margin = 0.5}\n'
    agent = Agent.from_config(write(tmp_path, f'[jobs.side]\nmodel = "small.npz"\n{policy}'))
    reasons = [asyncio.run(agent._jobs["side"].judge(x))[1].offload for x in (EASY, HARD)]
    assert reasons == [False, True]
