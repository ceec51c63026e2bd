"""The agent as a process of its own on a real broker, with the accounts and the ACL that the hub generates."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge_agent.agent import Agent
from messages import channels
from messages.bus.mqtt import MqttBus
from messages.delivery.sender import LEAST
from tests.edge_agent.test_cli import said, started, stopped
from tests.support.brokers import RunningBroker, mosquitto
from tests.support.scripted_hub import ScriptedHub
from tests.support.small_agent import EASY, HARD, JOB, write_agent

SOURCE = (
    "import time\nimport numpy as np\n"
    "def readings(first, count):\n"
    "    for n in range(first, first + count):\n"
    "        yield f'r{n}', np.array([0.05], 'float32')\n"
    "    while True: time.sleep(60.0)\n"
)


@asynccontextmanager
async def hub_on(broker: RunningBroker) -> AsyncIterator[ScriptedHub]:
    up = [channels.uplink("default")]
    bus = MqttBus(broker.client(), client_id="hub", subscriptions=up, will=None, random=Random(0))
    async with ScriptedHub(bus) as hub:
        yield hub


def agent_on(broker: RunningBroker, folder: Path, *, account: str = "device-1", **options: Any) -> Path:
    """A config of `device-1` that comes in as `account`, with a source beside it."""
    lines = [f'url = "{broker.url}"', "retry_first_s = 0.1", "retry_last_s = 0.5", f'username = "{account}"']
    lines += [f'password_file = "{broker.passwords[account]}"', options.pop("mqtt", "")]
    file = write_agent(folder, mqtt="\n".join(lines), **options)
    (folder / "my_readings.py").write_text(SOURCE)
    return file


def source(first: int, count: int) -> str:
    return JOB + f'keep = "every"\nsource = {{use = "my_readings:readings", first = {first}, count = {count}}}\n'


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    async with mosquitto(tmp_path, nodes=["device-1", "device-2"]) as running:
        yield running


async def test_a_process_says_where_it_connected_and_says_goodbye_when_stopped(tmp_path: Path, broker) -> None:
    async with hub_on(broker) as hub, started(agent_on(broker, tmp_path / "a", jobs=source(0, 50))) as agent:
        assert f"connected to {broker.url}, MQTT 5" in await said(agent, "connected")
        await hub.until(lambda h: len({s.sample_id for s in h.samples}) == 50)
        assert await stopped(agent) < 2.0
        await hub.until(lambda h: h.statuses[-1].state == "offline")
    assert {status.session for status in hub.statuses} == {hub.statuses[0].session}


async def test_a_killed_process_is_reported_by_its_will_and_loses_nothing(tmp_path: Path, broker) -> None:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_on(broker))
        hub.receipts = hub.answers = False
        async with started(agent_on(broker, tmp_path / "a", jobs=source(0, 300))) as agent:
            await hub.until(lambda h: len({s.sample_id for s in h.samples}) >= LEAST)
            await until(lambda: len(waiting(tmp_path / "a" / "data" / "agent.db")) >= 20)
            agent.kill()
            await hub.until(lambda h: h.statuses[-1].state == "offline")
        kept = waiting(tmp_path / "a" / "data" / "agent.db")
        hub.receipts = True
        async with started(agent_on(broker, tmp_path / "a", jobs=source(300, 10))):
            wanted = kept | {f"r{n}" for n in range(300, 310)}
            await hub.until(lambda h: wanted <= {s.sample_id for s in h.samples})
    assert len(kept) >= 20
    assert hub.statuses[-1].session > hub.statuses[0].session


def waiting(database: Path) -> set[str]:
    """The sample ids in an outbox."""
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT natural_key FROM outbox WHERE kind = 'sample'").fetchall()
    connection.close()
    return {name for (name,) in rows}


async def test_a_stop_keeps_every_row_while_the_hub_is_away(tmp_path: Path, broker) -> None:
    async with started(agent_on(broker, tmp_path / "a", jobs=source(0, 100))) as agent:
        await said(agent, "connected")
        await until(lambda: len(waiting(tmp_path / "a" / "data" / "agent.db")) == 100)
        assert await stopped(agent) < 2.0
    assert waiting(tmp_path / "a" / "data" / "agent.db") == {f"r{n}" for n in range(100)}


async def test_a_wrong_password_is_one_clear_line_and_no_end(tmp_path: Path, broker) -> None:
    wrong = tmp_path / "wrong.password"
    wrong.write_text("guess\n")
    broker.passwords["device-1"] = str(wrong)
    async with started(agent_on(broker, tmp_path / "a")) as agent:
        line = await said(agent, "refuses")
        assert broker.url in line
        assert "ERROR" in line
        assert await stopped(agent) < 2.0


async def test_a_stranger_to_the_topics_is_told_by_mqtt_5(tmp_path: Path, broker, caplog) -> None:
    async with Agent.from_config(agent_on(broker, tmp_path / "a", account="device-2")) as agent:
        await agent.infer(HARD)
        for channel in (channels.UP_STATUS, channels.UP_SAMPLE):
            line = f"the broker denies {channel.topic('default', 'device-1')}: Not authorized"
            await until(lambda line=line: line in caplog.text)
        assert agent.backlog == 1


async def test_on_mqtt_3_1_1_only_the_missing_receipts_tell(tmp_path: Path, broker, caplog) -> None:
    """The subscription is denied in the open, the publish with a lie: the broker says success."""
    file = agent_on(broker, tmp_path / "a", account="device-2", mqtt='protocol = "3.1.1"')
    async with hub_on(broker) as hub, Agent.from_config(file) as agent:
        await agent.infer(HARD)
        await until(lambda: looked(agent) and "no receipt for" in caplog.text)
        assert agent.backlog == 1
        assert not hub.samples


async def test_a_restarted_broker_is_found_again_and_the_edge_never_waits(tmp_path: Path, broker) -> None:
    async with Agent.from_config(agent_on(broker, tmp_path / "a")) as agent, hub_on(broker) as hub:
        first = await agent.infer(HARD)
        await first.final(timeout=10.0)
        broker.kill()
        async with asyncio.timeout(1.0):
            answers = [await agent.infer(HARD) for _ in range(20)]
            assert not (await agent.infer(EASY)).provisional
        await broker.start()
        await asyncio.gather(*(answer.final(timeout=20.0) for answer in answers))
        counters = agent.counters()
        assert (counters.all, counters.hard) == (22, 21)
        await until(lambda: agent.counters().answered == 21)
    assert {s.sample_id for s in hub.samples} == {a.sample_id for a in (first, *answers)}


def looked(agent: Agent) -> bool:
    agent.link.look()
    return True


async def until(happened: Any) -> None:
    async with asyncio.timeout(15.0):
        while not happened():  # noqa: ASYNC110  # what is waited for is in a database or a log
            await asyncio.sleep(0.02)
