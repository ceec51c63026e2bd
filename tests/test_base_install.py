"""A clean environment with only the base install runs an agent, on every Python that we promise."""

import subprocess
from pathlib import Path

import pytest

from tests.support.brokers import ROOT
from tests.support.pythons import environment
from tests.support.small_agent import write_agent

PROGRAM = """
import asyncio, sys
import numpy as np
from edge_agent.agent import Agent

async def main():
    async with Agent.from_config(sys.argv[1]) as agent:
        easy = await agent.infer(np.array([2.0], "float32"))
        hard = await agent.infer(np.array([0.05], "float32"))
        print(easy.provisional, hard.provisional, agent.backlog)

asyncio.run(main())
heavy = {"torch", "sklearn", "scipy", "aiohttp", "pandas", "sqlite_utils"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.extra
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_base_install_runs_an_agent(version: str, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    environment(version, venv, "-c", str(ROOT / "configs/constraints.txt"), str(ROOT))
    config = write_agent(tmp_path / "agent")
    done = subprocess.run(
        [venv / "bin/python", "-c", PROGRAM, config], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "False True 1\n"), done.stderr
    version_line = subprocess.run([venv / "bin/edge-agent", "--version"], capture_output=True, text=True, check=True)
    assert version_line.stdout.startswith("edge-agent 0.")
