"""The programs of docs/apps.md, run as they stand there: they use nothing of ours.

Each runs on the device's own broker, and on the hub's with its generated access rules, where every program that is
connected has a name of its own.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.edge_agent.test_apps import Place, place
from tests.support.console import commands

DOC = Path(__file__).parents[2] / "docs" / "apps.md"
JSON = 'payload = "json"\n'
EAR, MOUTH, PASSWORD = "app@ear", "app@mouth", "secret of the camera"
BOTH = pytest.mark.parametrize("shared", [False, True], ids=["own broker", "the hub's broker"])


def program(language: str, here: Place, **changes: str) -> str:
    """The first code block of a language, for the broker of this test and with some words changed."""
    found = re.search(rf"^```{language}\n(.*?)^```", DOC.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    text = found.group(1)
    assert len([line for line in text.splitlines() if line]) <= 12
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text.replace("1884", str(here.local.port))


@asynccontextmanager
async def started(*command: str | Path, folder: Path) -> AsyncIterator[asyncio.StreamReader]:
    """A program's output, line by line as it comes."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]}, cwd=folder
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            yield process.stdout
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def two_lines(*command: str | Path, folder: Path) -> list[str]:
    """What a program prints first; it runs until it is killed."""
    async with started(*command, folder=folder) as output:
        return [(await output.readline()).decode() for _ in range(2)]


@BOTH
async def test_the_python_program_prints_both_predictions(tmp_path: Path, shared: bool) -> None:
    async with place(tmp_path, shared=shared) as here:
        login = {"client.connect(": f'client.username_pw_set("{MOUTH}", "{PASSWORD}")\nclient.connect('}
        file = tmp_path / "program.py"
        file.write_text(program("python", here, **(login if shared else {})))
        lines = await two_lines(sys.executable, "-u", file, folder=tmp_path)
    assert ["'provisional': True" in lines[0], "'provisional': False" in lines[1]] == [True, True], lines
    assert "'probs': [0.0, 1.0]" in lines[1]


def shell(here: Place, *logins: str) -> Sequence[str]:
    """The two commands of the shell script, hear and say, each with its login."""
    return [
        command.text.removesuffix(" &").replace("1884", str(here.local.port)).replace("-q 1", f"-q 1 {login}")
        for command, login in zip(commands(DOC, "apps.md"), logins, strict=True)
    ]


@BOTH
async def test_mosquitto_sub_and_mosquitto_pub_do_as_well(tmp_path: Path, shared: bool) -> None:
    async with place(tmp_path, shared=shared, more=JSON) as here:
        logins = (f"-u {name} -P '{PASSWORD}'" if shared else "" for name in (EAR, MOUTH))
        hear, say = shell(here, *logins)
        hear = hear.replace("mosquitto_sub", "exec stdbuf -oL mosquitto_sub -d")
        async with started("bash", "-c", hear, folder=tmp_path) as output:
            while not (await output.readline()).startswith(b"Subscribed"):
                pass
            published = await asyncio.create_subprocess_shell(say)
            assert await published.wait() == 0
            out = (await output.read()).decode()
    first, second = (line for line in out.splitlines() if line.startswith("{"))
    assert '"sample_id":"s-1"' in first
    assert ['"provisional":true' in first, '"provisional":false' in second] == [True, True]


@pytest.mark.parametrize("login", ["", f"-u app@other -P '{PASSWORD}'", f"-u {MOUTH} -P guessed"])
async def test_the_hubs_broker_refuses_who_is_not_named_there(tmp_path: Path, login: str) -> None:
    async with place(tmp_path, shared=True, more=JSON) as here:
        _, say = shell(here, "", login)
        done = await asyncio.to_thread(subprocess.run, say, shell=True, capture_output=True, text=True, check=False)
        assert "not authorised" in done.stderr.lower()
        assert (done.returncode != 0, here.app.heard, here.agent.counters().all) == (True, [], 0)


@pytest.mark.extra
@pytest.mark.timeout(300)
@BOTH
async def test_the_javascript_program_prints_both_predictions(tmp_path: Path, shared: bool) -> None:
    assert shutil.which("npm"), "npm and Node.js are not on this machine"
    install = ["npm", "install", "--no-audit", "--no-fund", "mqtt@5"]
    await asyncio.to_thread(subprocess.run, install, cwd=tmp_path, check=True)
    async with place(tmp_path, shared=shared, more=JSON) as here:
        login = {'1884")': f'1884", {{ username: "{MOUTH}", password: "{PASSWORD}" }})'}
        file = tmp_path / "program.mjs"
        file.write_text(program("js", here, **(login if shared else {})))
        lines = await two_lines("node", file, folder=tmp_path)
    assert ['"provisional":true' in lines[0], '"provisional":false' in lines[1]] == [True, True], lines
    assert '"probs":[0.0,1.0]' in lines[1]
