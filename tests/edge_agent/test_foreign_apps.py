"""The programs of docs/apps.md, run as they stand there: they use nothing of ours."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.edge_agent.test_apps import Place, place
from tests.support.console import commands

DOC = Path(__file__).parents[2] / "docs" / "apps.md"


def program(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", DOC.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path, shared=False) as found:
        yield found


async def test_the_python_program_prints_both_predictions(here: Place, tmp_path: Path) -> None:
    assert len([line for line in program("python").splitlines() if line]) <= 12
    file = tmp_path / "program.py"
    file.write_text(program("python").replace("1884", str(here.local.port)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", str(file), stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]}
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        lines = [(await process.stdout.readline()).decode() for _ in range(2)]
    process.kill()
    await process.wait()
    assert ["'provisional': True" in lines[0], "'provisional': False" in lines[1]] == [True, True], lines
    assert "'probs': [0.0, 1.0]" in lines[1]


async def test_mosquitto_sub_and_mosquitto_pub_do_as_well(tmp_path: Path) -> None:
    async with place(tmp_path, shared=False, more='payload = "json"\n') as here:
        hear, say = (command.text.replace("1884", str(here.local.port)) for command in commands(DOC, "apps.md"))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_shell(
            hear.replace("mosquitto_sub", "stdbuf -oL mosquitto_sub -d")[:-1], stdout=pipe
        )
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while not (await process.stdout.readline()).startswith(b"Subscribed"):
                pass
            published = await asyncio.create_subprocess_shell(say)
            assert await published.wait() == 0
            out, _ = await process.communicate()
    first, second = (line for line in out.decode().splitlines() if line.startswith("{"))
    assert '"sample_id":"s-1"' in first
    assert ['"provisional":true' in first, '"provisional":false' in second] == [True, True]
