"""Thousands of random and mutated payloads from apps and from the hub, against a whole agent on buses in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge_agent import config
from edge_agent.agent import Agent
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.bus.protocol import Incoming
from messages.channels import CHANNELS
from messages.codec import Format, decode, encode
from messages.shapes import Answer, Classes, HardSample, Prediction, Reading, Receipt
from tests.faults.test_any_payload import AT, Batch, many
from tests.support import events
from tests.support.mutations import VALID
from tests.support.small_agent import JOB, write_agent

ROOT = "default/skerry/v1/device-1"
FOREIGN = ["in/digits", "in/a/b", "in/+", "down/unheard-of"]
PATHS = [path for path in {*CHANNELS, *VALID, *FOREIGN} if path.startswith(("in", "down"))] + ["in/side"] * 9


class World:
    """An agent with its hub's broker and its own; the hub and an app only listen, and speak when told."""

    def __init__(self, folder: Path) -> None:
        self.sent: list[HardSample] = []
        self.receipted: list[str] = []
        self.heard: list[Prediction] = []
        far, near = MemoryBroker(), MemoryBroker()
        self._hub = MemoryBus(far, client_id="hub", subscriptions=[f"{ROOT}/up/#"], will=None)
        self._app = MemoryBus(near, client_id="app", subscriptions=[f"{ROOT}/out/+"], will=None)
        self._down = MemoryBus(far, client_id="device-1", subscriptions=[f"{ROOT}/down/#"], will=None)
        self._in = MemoryBus(near, client_id="device-1", subscriptions=[f"{ROOT}/in/#"], will=None)
        file = write_agent(folder, jobs=f'[apps]\nbroker = "mqtt://127.0.0.1:1"\n{JOB}')
        self.agent = Agent(
            config.load(file), file, make_bus=lambda _will: self._down, make_apps_bus=lambda: self._in
        )  # fmt: skip

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them run."""
        async with AsyncExitStack() as stack:
            for bus in (self._hub, self._app):
                await stack.enter_async_context(bus)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            listening = tasks.create_task(self._listen(self._hub)), tasks.create_task(self._listen(self._app))
            await stack.enter_async_context(self.agent)
            self.agent.store.connection.execute("PRAGMA synchronous = OFF")
            await soon(lambda: self.agent.connected)
            yield
            for task in listening:
                task.cancel()

    async def _listen(self, bus: MemoryBus) -> None:
        async for event in bus.events():
            if isinstance(event, Incoming):
                self._hear(event.topic.removeprefix(f"{ROOT}/"), event.payload)

    def _hear(self, path: str, payload: bytes) -> None:
        if path == "up/sample":
            self.sent.append(decode(HardSample, payload))
        elif path == "up/receipt":
            self.receipted += decode(Receipt, payload).done
        elif path.startswith("out/"):
            self.heard.append(decode(Prediction, payload))

    def say(self, path: str, payload: bytes) -> None:
        """The hub or an app publishes something."""
        (self._app if path.startswith("in") else self._hub).post(f"{ROOT}/{path}", payload)

    def of(self, name: str) -> list[bool]:
        """Whether the predictions of a sample were provisional."""
        return [prediction.provisional for prediction in self.heard if prediction.sample_id == name]

    async def hand_in_good(self, name: str) -> None:
        """A hard reading is answered twice, by the edge and by the cloud, and the hub gets its receipt."""
        self.say("down/receipt", encode(Receipt(event_id="r", timestamp=AT, credit=64)))
        self.say("in/side", encode(Reading(event_id=name, x=[0.05]), Format.JSON))
        await soon(lambda: self.of(name) == [True])
        await soon(lambda: name in [sample.sample_id for sample in self.sent])
        value = Classes(probs=(0.0, 1.0))
        answer = Answer(event_id=f"{name}.0", timestamp=AT, job="side", sample_id=name, value=value)
        self.say("down/answer", encode(answer))
        await soon(lambda: self.of(name) == [True, False])
        await soon(lambda: answer.event_id in self.receipted)
        assert (self._in.unacknowledged, self._down.unacknowledged) == (0, 0)


async def soon(condition: Callable[[], bool]) -> None:
    """Wait for what others bring about."""
    await events.until(condition, within_s=10, every_s=0.001)


async def _play(batch: Batch) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        async with world.running():
            for name in ("first", "again"):
                for path, payload in batch:
                    world.say(path, payload)
                await world.hand_in_good(name)


def play(batch: Batch) -> None:
    asyncio.run(_play(batch))


test_no_payload_harms_an_agent = many(PATHS, 10_000, batch=200)(play)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_no_payload_on_one_channel_harms_an_agent(path: str) -> None:
    many([path], 10_000, batch=200)(play)()
