"""The command: exit codes, one clear line for each thing that is wrong, and a quick and clean stop."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.small_agent import write_agent

AGENT = (sys.executable, "-m", "edge_agent.cli")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AGENT, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | environment,
        cwd=cwd,
        check=False,
    )


def test_check_config_says_fine_and_starts_nothing(tmp_path: Path) -> None:
    file = write_agent(tmp_path)
    done = run("run", "--check-config", "--config", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: fine; jobs: side\n", "")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [(), ("run",), ("run", "--konfig", "x"), ("walk",)])
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"edge-agent \S+\n", run("--version").stdout)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": "nodes = 3"}, "nodes"),
        ({"more": "beat_s = 'often'"}, "beat_s"),
        ({"jobs": '[jobs.a]\nmodel = "gone.npz"\n'}, "gone.npz: No such file"),
    ],
)
def test_a_wrong_config_is_78_and_one_line(tmp_path: Path, change: dict[str, str], words: str) -> None:
    done = run("run", "--config", write_agent(tmp_path, **change))
    assert done.returncode == 78
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_config_is_78(tmp_path: Path) -> None:
    done = run("run", "--config", tmp_path / "none.toml")
    assert done.returncode == 78
    assert str(tmp_path / "none.toml") in done.stderr


def test_a_data_folder_that_cannot_be_made_is_1_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("run", "--config", write_agent(tmp_path, more='data_dir = "file/data"'))
    assert done.returncode == 1
    assert f"data_dir {tmp_path}/file/data: Not a directory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_damaged_database_is_1_and_one_line(tmp_path: Path) -> None:
    file = write_agent(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "agent.db").write_bytes(b"no database at all" * 1000)
    done = run("run", "--config", file)
    assert done.returncode == 1
    assert f"{tmp_path}/data/agent.db: file is not a database" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_journal_gets_priorities_and_no_time_of_ours(tmp_path: Path) -> None:
    done = run("run", "--config", tmp_path / "none.toml", JOURNAL_STREAM="8:1")
    assert done.stderr.startswith("<3>")


def test_a_users_own_messages_module_is_named(tmp_path: Path) -> None:
    (tmp_path / "messages.py").touch()
    done = run("run", "--config", write_agent(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/messages.py hides Skerry's package 'messages'" in done.stderr
    assert done.stderr.count("\n") == 1


@asynccontextmanager
async def started(file: Path, **environment: str) -> AsyncIterator[Process]:
    """An agent in its own process that has logged its first line."""
    process = await asyncio.create_subprocess_exec(
        *AGENT, "run", "--config", str(file), stderr=PIPE, env=ENVIRONMENT | environment
    )
    try:
        await said(process, "starts: jobs")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: Process, words: str) -> str:
    """The first line on stderr with these words."""
    assert process.stderr is not None
    async with asyncio.timeout(10.0):
        while line := (await process.stderr.readline()).decode():
            if words in line:
                return line
    raise AssertionError(f"the agent ended without saying {words!r}")


async def stopped(process: Process, number: signal.Signals = signal.SIGTERM) -> float:
    """Stop an agent; how many seconds that took."""
    began = time.monotonic()
    process.send_signal(number)
    async with asyncio.timeout(10.0):
        assert await process.wait() == 0
    return time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_in_under_two_seconds_without_a_broker(tmp_path: Path, number: signal.Signals) -> None:
    async with started(write_agent(tmp_path)) as agent:
        await said(agent, "no connection")
        assert await stopped(agent, number) < 2.0


async def test_a_second_agent_on_the_same_folder_is_1(tmp_path: Path) -> None:
    file = write_agent(tmp_path)
    async with started(file):
        done = await asyncio.to_thread(run, "run", "--config", file)
    assert done.returncode == 1
    assert "another agent is using it" in done.stderr


async def test_systemd_is_told_when_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        loop = asyncio.get_running_loop()

        async def told() -> str:
            async with asyncio.timeout(10.0):
                return (await loop.sock_recv(manager, 4096)).decode()

        async with started(write_agent(tmp_path), NOTIFY_SOCKET=address, WATCHDOG_USEC="200000") as agent:
            assert await told() == "READY=1"
            assert [await told(), await told()] == ["WATCHDOG=1"] * 2
            agent.terminate()
            while (line := await told()) == "WATCHDOG=1":
                pass
            assert line == "STOPPING=1"
