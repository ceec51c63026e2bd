"""A stop at any moment, from a program's first lines to its last: the exit code is 0, in under two seconds."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.big_models import write_models
from tests.support.brokers import ROOT
from tests.support.ports import free_port
from tests.support.small_agent import write_agent
from tests.support.stops import handles_stops

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
LATEST_S, STEPS = 1.0, 12


def write_hub(folder: Path) -> Path:
    """A hub with a broker of its own and a worker."""
    write_models(folder)
    file = folder / "hub.toml"
    file.write_text(
        f'[broker]\nport = {free_port()}\n[http]\nport = 0\n[limits]\ndisk_reserve = 0\n'
        '[jobs.digits]\npredictor = "big:sides"\n'
    )  # fmt: skip
    return file


PROGRAMS = {"edge_agent.cli": write_agent, "cloud_hub.cli": write_hub}


async def ends_with_0(module: str, file: Path, after_s: float, *, stops: int) -> None:
    """Start a program, let it come so far, stop it, again and again when there are many stops, and see how it ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "run", "--config", str(file), stderr=PIPE, env=ENVIRONMENT
    )
    try:
        await handles_stops(process)
        await asyncio.sleep(after_s)
        begin = time.monotonic()
        for number in range(stops):
            if process.returncode is None:
                with suppress(ProcessLookupError):  # not `send_signal`, which may take the exit code away
                    os.kill(process.pid, (signal.SIGTERM, signal.SIGINT)[number % 2])
                await asyncio.sleep(0.001)
        _, said = await process.communicate()
        assert process.returncode == 0, (after_s, said.decode())
        assert b"Traceback" not in said, (after_s, said.decode())
        assert time.monotonic() - begin < 2.0, (after_s, said.decode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.serial
@pytest.mark.parametrize("module", PROGRAMS)
async def test_a_stop_at_any_moment_of_the_start_ends_with_0(tmp_path: Path, module: str) -> None:
    file = PROGRAMS[module](tmp_path)
    for step in range(STEPS):
        await ends_with_0(module, file, LATEST_S * step / STEPS, stops=1)


@pytest.mark.serial
@pytest.mark.parametrize("module", PROGRAMS)
async def test_so_do_hundreds_of_stops(tmp_path: Path, module: str) -> None:
    file = PROGRAMS[module](tmp_path)
    for after_s in (0.0, LATEST_S / 2.0, LATEST_S):
        await ends_with_0(module, file, after_s, stops=500)
