"""`cloud-hub run` brings its own broker: mosquitto as a child, or the embedded one where mosquitto is missing."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import psutil
import pytest

from cloud_hub.broker.child import BrokerFailed, mosquitto, mosquitto_program
from cloud_hub.broker.embedded import embedded
from cloud_hub.broker.settings import BrokerSettings
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Disconnected, Incoming
from messages.bus.settings import MqttSettings
from messages.channels import UP_SAMPLE, uplink
from tests.support.brokers import ROOT, broker_settings
from tests.support.ports import free_port

HUB_TOML = """
data_dir = "data"
[broker]
port = {port}
[http]
port = 0
"""


def program() -> str:
    found = mosquitto_program()
    assert found is not None, "apt-get install mosquitto"
    return found


def client(settings: BrokerSettings, name: str, word: Path | None = None, *subscriptions: str) -> MqttBus:
    path = word or Path(settings.accounts[name])
    access = MqttSettings(
        url=f"mqtt://127.0.0.1:{settings.port}", username=name, password_file=str(path), retry_first_s=0.05
    )
    return MqttBus(access, client_id=name, subscriptions=subscriptions, will=None, random=Random(1))


async def first(bus: MqttBus, *kinds: type) -> object:
    async with asyncio.timeout(10):
        async for event in bus.events():
            if isinstance(event, kinds):
                return event
    raise AssertionError("the bus ended")


async def test_the_child_comes_back_when_it_is_killed(tmp_path: Path) -> None:
    settings = broker_settings(tmp_path, ["cam-1"])
    async with mosquitto(program(), settings, tmp_path / "broker"), client(settings, "cam-1") as bus:
        await first(bus, Connected)
        (child,) = (process for process in psutil.Process().children() if "mosquitto" in process.name())
        child.kill()
        await first(bus, Disconnected)
        assert isinstance(await first(bus, Connected), Connected)
    assert not [process for process in psutil.Process().children() if "mosquitto" in process.name()]


async def test_the_embedded_broker_knows_the_same_accounts_and_topics(tmp_path: Path) -> None:
    settings = broker_settings(tmp_path, ["cam-1", "cam-2"])
    wrong = tmp_path / "wrong"
    wrong.write_text("guessed\n")
    async with embedded(settings):
        async with client(settings, "cam-1", wrong) as bus:
            refused = await first(bus, Disconnected)
            assert isinstance(refused, Disconnected)
            assert refused.refused, refused
        async with client(settings, "hub", None, uplink("default")) as hub, client(settings, "cam-1") as node:
            connected = await first(hub, Connected)
            assert connected == Connected("3.1.1")
            await first(node, Connected)
            node.post(UP_SAMPLE.topic("default", "cam-2"), b"not mine")
            node.post(UP_SAMPLE.topic("default", "cam-1"), b"mine")
            got = await first(hub, Incoming)
            assert isinstance(got, Incoming)
            assert (got.topic, got.payload) == ("default/skerry/v1/cam-1/up/sample", b"mine")


async def test_a_busy_port_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.broker.child.PATIENCE_S", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = BrokerSettings(port=other.getsockname()[1])
        with pytest.raises(BrokerFailed, match=rf"127.0.0.1:{settings.port}: Address already in use; choose another"):
            async with mosquitto(program(), settings, tmp_path):
                pass


@asynccontextmanager
async def hub_process(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`cloud-hub run` with a broker of its own, once that accepts."""
    (folder / "hub.toml").write_text(HUB_TOML.format(port=port))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloud_hub.cli", "run", "--config", str(folder / "hub.toml"), env=environment
    )
    try:
        async with asyncio.timeout(20):
            while not await accepts(port):  # noqa: ASYNC110  # there is no event for another process's port
                await asyncio.sleep(0.02)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_a_killed_hub_leaves_no_broker_behind_and_starts_again(tmp_path: Path) -> None:
    port = free_port()
    async with hub_process(tmp_path, port) as killed:
        killed.kill()
        await killed.wait()
    async with asyncio.timeout(5):
        while await accepts(port):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    async with hub_process(tmp_path, port) as again:
        again.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await again.wait() == 0
    assert not await accepts(port)
