"""Real brokers with the configuration that `cloud-hub` generates, for a test to stop, freeze, kill and start again."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import msgspec

from cloud_hub.broker.files import write_broker_files
from cloud_hub.broker.settings import BrokerSettings
from messages.bus.settings import MqttSettings
from messages.channels import HUB
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]


class RunningBroker:
    """A broker in a process of its own. `command` starts it; `passwords` maps each account to its password file."""

    def __init__(self, command: Sequence[str], settings: BrokerSettings) -> None:
        self.command = list(command)
        self.settings = settings
        self.passwords = settings.accounts
        self.port = settings.port
        self.url = f"mqtt://127.0.0.1:{settings.port}"
        self._process: Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that serves now."""
        assert self._process is not None
        return self._process.pid

    def client(self, name: str = HUB, **options: Any) -> MqttSettings:
        """What a bus needs to come in as this account (or as anybody, where there are no accounts)."""
        known = {"username": name, "password_file": self.passwords[name]} if self.passwords else {}
        return MqttSettings(**{"url": self.url, "retry_first_s": 0.05, "retry_last_s": 0.3, **known, **options})

    async def start(self) -> None:
        """Start the process and wait until it accepts."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = Popen(  # noqa: ASYNC220 - it returns at once
            self.command, stdout=DEVNULL, stderr=DEVNULL, env=environment
        )
        async with asyncio.timeout(20):
            while True:
                assert self._process.poll() is None, f"{self.command[0]} ended with {self._process.returncode}"
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                return

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGSTOP: the broker's sockets stay open, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def restart(self, *, empty: bool = True) -> None:
        """Kill it and start it anew, with nothing that it had in memory: the generated configuration stores nothing."""
        assert empty, "the generated configuration keeps no state"
        self.kill()
        await self.start()


@asynccontextmanager
async def mosquitto(folder: Path, *, nodes: Sequence[str] = (), **options: Any) -> AsyncIterator[RunningBroker]:
    """mosquitto with accounts for `hub` and these nodes; without nodes everybody on this machine may do everything."""
    settings = broker_settings(folder, nodes, **options)
    files = write_broker_files(settings, folder / "broker")
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert program is not None, "mosquitto is not installed: apt-get install mosquitto"
    async with _running(RunningBroker([program, "-c", str(files.conf)], settings)) as broker:
        yield broker


@asynccontextmanager
async def amqtt_broker(folder: Path, *, nodes: Sequence[str] = (), **options: Any) -> AsyncIterator[RunningBroker]:
    """The embedded broker with the same accounts, in a process of its own."""
    settings = broker_settings(folder, nodes, **options)
    command = [sys.executable, "-m", "tests.support.embedded_broker", msgspec.json.encode(settings).decode()]
    async with _running(RunningBroker(command, settings)) as broker:
        yield broker


def broker_settings(folder: Path, nodes: Sequence[str], **options: Any) -> BrokerSettings:
    """Settings on a free port, with a password file for the hub and for each node."""
    accounts = {}
    for name in (HUB, *nodes) if nodes else ():
        path = folder / f"{name}.password"
        path.write_text(f"secret of {name}\n")
        accounts[name] = str(path)
    return BrokerSettings(**{"port": free_port(), "accounts": accounts, **options})


@asynccontextmanager
async def _running(broker: RunningBroker) -> AsyncIterator[RunningBroker]:
    try:
        await broker.start()
        yield broker
    finally:
        broker.kill()
