"""A plain script uses an agent without asyncio, on a real broker."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_agent.jobs import SampleError
from edge_agent.sync import SyncAgent, SyncAnswer
from messages.host.folder import FolderError
from messages.settings.read import ConfigError
from messages.shapes import Classes, Prediction
from tests.edge_agent.test_on_mosquitto import hub_on
from tests.support.brokers import ROOT, RunningBroker, mosquitto
from tests.support.scripted_hub import ScriptedHub
from tests.support.small_agent import EASY, HARD, number, write_agent

SCRIPT = """
import signal
import numpy as np
from edge_agent.sync import SyncAgent

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background lets its children ignore it
with SyncAgent.from_config("agent.toml") as agent:
    answer = agent.infer(np.array([0.05], "float32"))
    print("waiting", flush=True)
    answer.final()
"""


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
async def hub(broker: RunningBroker) -> AsyncIterator[ScriptedHub]:
    async with hub_on(broker) as running:
        yield running


@pytest.fixture
def file(broker: RunningBroker, tmp_path: Path) -> Path:
    return write_agent(tmp_path / "a", mqtt=f'url = "{broker.url}"\nretry_first_s = 0.1\nretry_last_s = 0.5')


async def test_a_script_gets_the_edges_answer_at_once_and_the_hubs_later(hub: ScriptedHub, file: Path) -> None:
    def script() -> tuple[SyncAnswer, SyncAnswer, Prediction, int]:
        with SyncAgent.from_config(file) as agent:
            easy, hard = agent.infer(EASY), agent.infer(HARD, sample_id="s")
            return easy, hard, hard.final(timeout=10.0), agent.counters().hard

    easy, hard, final, sent = await asyncio.to_thread(script)
    assert (easy.provisional, easy.reason, easy.final() is easy.prediction) == (False, "easy", True)
    assert (hard.provisional, hard.reason, hard.sample_id) == (True, "entropy", "s")
    assert (final.origin, final.sample_id, final.value) == ("cloud", "s", Classes(probs=(0.0, 1.0)))
    assert hard.final() is final
    assert sent == 1


async def test_many_threads_share_one_agent(hub: ScriptedHub, file: Path) -> None:
    def script() -> list[Prediction]:
        with SyncAgent.from_config(file) as agent, ThreadPoolExecutor(8) as threads:
            return list(threads.map(lambda n: agent.infer(HARD, sample_id=f"t{n}").final(timeout=20.0), range(40)))

    finals = await asyncio.to_thread(script)
    assert [(final.sample_id, final.origin) for final in finals] == [(f"t{n}", "cloud") for n in range(40)]


async def test_errors_are_those_of_the_agent(hub: ScriptedHub, file: Path, tmp_path: Path) -> None:
    hub.answers = False

    def script() -> None:
        with pytest.raises(ConfigError, match=r"nowhere\.toml"):
            SyncAgent.from_config(tmp_path / "nowhere.toml")
        with SyncAgent.from_config(file) as agent:
            with pytest.raises(FolderError), SyncAgent.from_config(file):
                pass
            with pytest.raises(SampleError, match=r"takes float32\[1\]"):
                agent.infer(number(1.0).astype("float64"))
            with pytest.raises(KeyError, match="this agent has side"):
                agent.infer(EASY, job="other")
            with pytest.raises(TimeoutError):
                agent.infer(HARD).final(timeout=0.05)
            assert not agent.infer(EASY).provisional

    await asyncio.to_thread(script)


async def test_an_error_in_the_block_leaves_it_in_order_and_the_rows_stay(file: Path, broker: RunningBroker) -> None:
    kept: list[SyncAnswer] = []

    def script() -> None:
        with SyncAgent.from_config(file) as agent:
            kept.append(agent.infer(HARD))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(script)
    with pytest.raises(RuntimeError, match="the agent was left"):
        kept[0].final()
    with SyncAgent.from_config(file) as agent:
        assert agent.backlog >= 1


async def test_what_ends_the_agent_is_told_at_the_next_call_and_once(file: Path, hub: ScriptedHub) -> None:
    def script() -> None:
        with SyncAgent.from_config(file) as agent:
            agent._loop.call_soon_threadsafe(agent._agent._tasks.create_task, fault())
            while True:
                agent.infer(HARD).final()

    async def fault() -> None:
        raise OSError("the disk is gone")

    hub.answers = False
    with pytest.raises(OSError, match="the disk is gone"):
        await asyncio.to_thread(script)


async def test_ctrl_c_ends_a_script_that_waits(file: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, cwd=file.parent, env={"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"waiting\n"
            process.send_signal(signal.SIGINT)
            _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert log.decode().splitlines()[-1] == "KeyboardInterrupt"
    assert b"never awaited" not in log
    assert b"destroyed" not in log
