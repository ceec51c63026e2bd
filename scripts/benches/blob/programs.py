"""A hub and an agent as processes that take orders on stdin, a line each, and answer with a line.

`hub PORT FOLDER`: a path, and it answers with the reference of that file, which the agent may have from now on.
`agent PORT FOLDER`: a reference, and it answers with the seconds until it has the file, and the bytes that crossed its
link; then it forgets the file, unless the order begins with "+".
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from subprocess import Popen
from time import perf_counter

import msgspec

from messages import channels
from messages.bus.mqtt import MqttBus
from messages.bus.settings import MqttSettings
from messages.shapes import BlobRef
from scripts.benches.delivery.processes import running

NODE = "bench"
AGENT = 'node = "bench"\n[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n'


class Program:
    """One of the two, from outside."""

    def __init__(self, process: "Popen[str]") -> None:
        self.pid = process.pid
        self._process = process

    def order(self, line: str) -> str:
        """Say a line and hear the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended")
        return answer


@contextmanager
def program(role: str, port: int, folder: Path) -> Iterator[Program]:
    """Start one; it is connected when this returns."""
    folder.mkdir(exist_ok=True)
    with running([sys.executable, "-m", "scripts.benches.blob.programs", role, str(port), str(folder)]) as process:
        ours = Program(process)
        ours.order("hello")
        yield ours


async def hub(port: int, folder: Path) -> None:
    """Serve until stdin ends."""
    from cloud_hub.config import HubSettings
    from cloud_hub.hub import Hub
    from cloud_hub.store.folder import opened

    settings = HubSettings(data_dir=str(folder), mqtt=MqttSettings(url=f"mqtt://127.0.0.1:{port}"))
    assert settings.mqtt is not None
    up = [channels.uplink("default")]
    bus = MqttBus(settings.mqtt, client_id="hub", subscriptions=up, will=None, random=Random(0))
    with opened(folder) as store:
        ours = Hub(settings, store, bus, folder=folder)
        task = asyncio.create_task(ours.run(), name="hub")
        while ours.health.broker:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)

        async def add(path: str) -> str:
            ref = await ours.blobs.add(Path(path))
            ours.blobs.refer(NODE, ref)
            return msgspec.json.encode(ref).decode()

        await _obey(add)
        task.cancel()


async def agent(port: int, folder: Path) -> None:
    """Fetch until stdin ends."""
    from edge_agent.agent import Agent

    (folder / "agent.toml").write_text(AGENT.format(port=port))
    async with Agent.from_config(folder / "agent.toml") as ours:
        while not ours.connected:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)

        async def fetch(line: str) -> str:
            ref = msgspec.json.decode(line.removeprefix("+"), type=BlobRef)
            begin, before = perf_counter(), ours.link.exchanged
            await ours.blobs.want(ref)
            took = perf_counter() - begin
            if not line.startswith("+"):
                ours.blobs.get().fetching.folder.drop(ref.sha256)
            return f"{took} {ours.link.exchanged - before}"

        await _obey(fetch)


async def _obey(do: Callable[[str], Awaitable[str]]) -> None:
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        print("ready" if line == "hello" else await do(line), flush=True)


if __name__ == "__main__":
    asyncio.run({"hub": hub, "agent": agent}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3])))
