"""Sixty faults over three thousand hard samples, on real processes and real brokers: the books close."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from random import Random

import pytest

from cloud_hub.broker.files import acl_text
from cloud_hub.broker.settings import BrokerSettings
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Incoming
from messages.channels import DOWN_RECEIPT, downlink
from messages.codec import decode
from messages.shapes import Deferral, Receipt
from scripts.demos.digits.audit import audit
from tests.support.brokers import RunningBroker, amqtt_broker, mosquitto
from tests.support.events import until
from tests.support.fleet import Fleet

DEVICES = ("device-1", "device-2", "device-3")
RESERVE = 4 << 20

Fault = Callable[["Storm"], Awaitable[None]]


class Storm:
    """Breaks one thing at a time, and mends it again after a moment."""

    def __init__(self, fleet: Fleet, acl: Path, random: Random, put_off: Sequence[Deferral]) -> None:
        self._fleet = fleet
        self._put_off = put_off
        self._acl = acl
        self._random = random
        self.happened: dict[str, int] = {}

    async def blow(self, kinds: Sequence[Fault], faults: int, pause_s: float) -> None:
        """Every kind of fault comes up, in the seed's order."""
        order = [kinds[number % len(kinds)] for number in range(faults)]
        self._random.shuffle(order)
        for fault in order:
            await fault(self)
            name = fault.__name__
            self.happened[name] = self.happened.get(name, 0) + 1
            await asyncio.sleep(self._random.uniform(0.0, pause_s))

    async def kill_agent(self) -> None:
        await self._kill(self._random.choice(DEVICES))

    async def kill_hub(self) -> None:
        await self._kill("hub")

    async def kill_broker(self) -> None:
        self._fleet.broker.kill()
        await self._moment()
        await self._fleet.broker.start()

    async def freeze_broker(self) -> None:
        self._fleet.broker.stop()
        await self._moment()
        self._fleet.broker.cont()

    async def cut_link(self) -> None:
        link = self._fleet.links[self._random.choice(("hub", *DEVICES))]
        link.refuse()
        await self._moment()
        await link.open()

    async def half_open_link(self) -> None:
        link = self._fleet.links[self._random.choice(("hub", *DEVICES))]
        link.freeze()
        await self._moment()
        link.thaw()

    async def fill_disk(self) -> None:
        disk = self._fleet.disks[self._random.choice(("hub", *DEVICES))]
        disk.fill()
        await self._moment()
        disk.free()

    async def cramp_hub(self) -> None:
        """Less room than the hub wants to keep free, until it says so; enough for all that it still writes."""
        disk, heard = self._fleet.disks["hub"], len(self._put_off)
        disk.cramp(RESERVE // 2)
        await until(lambda: len(self._put_off) > heard, within_s=40)
        disk.free()

    async def deny_topics(self) -> None:
        """A person has broken the broker's access rules: nodes may not publish until it is mended."""
        self._acl.write_text("\n".join(line for line in acl_text(BrokerSettings()).splitlines() if "write" not in line))
        await self._fleet.broker.restart()
        await self._moment()
        self._acl.write_text(acl_text(BrokerSettings()))
        await self._fleet.broker.restart()

    async def _kill(self, name: str) -> None:
        await self._fleet.kill(name)
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        await self._fleet.start(name)

    async def _moment(self) -> None:
        await asyncio.sleep(self._random.uniform(0.05, 0.6))


KILLS_AND_CUTS: Sequence[Fault] = (Storm.kill_agent, Storm.kill_hub, Storm.kill_broker, Storm.cut_link)
EVERY_KIND: Sequence[Fault] = (
    *KILLS_AND_CUTS, Storm.freeze_broker, Storm.half_open_link, Storm.fill_disk, Storm.deny_topics,
)  # fmt: skip


async def live(
    folder: Path,
    broker: RunningBroker,
    *,
    samples: int,
    faults: int,
    pause_s: float = 0.3,
    seed: int = 1,
    kinds: Sequence[Fault] = EVERY_KIND,
    environment: Mapping[str, str] | None = None,
    put_off: Sequence[Deferral] = (),
) -> None:
    """Live through a storm, come to rest, and close the books.

    `environment` changes settings of all processes; `put_off` is every `later` that somebody who listens in hears.
    """
    async with AsyncExitStack() as stack:
        fleet = Fleet(folder, broker, DEVICES)
        fleet.environment = {name: dict(environment or {}) for name in ("hub", *DEVICES)}
        storm = Storm(fleet, folder / "broker" / "mosquitto.acl", Random(seed), put_off)
        length = faults * (pause_s / 2 + 0.5)
        await fleet.set_up(stack, count=samples // len(DEVICES), interval_s=0.9 * length * len(DEVICES) / samples)
        for name in ("hub", *DEVICES):
            await fleet.start(name)
        await storm.blow(kinds, faults, pause_s)
        await at_rest(fleet, samples)
        codes = await fleet.stop()
        assert set(codes.values()) == {0}, (codes, fleet.log("hub")[-3000:])
        assert len(storm.happened) == len(kinds)
        check(fleet, samples, storm)


async def at_rest(fleet: Fleet, samples: int) -> None:
    """Until every sample has a final prediction and nothing waits."""
    for name in ("hub", *DEVICES):
        await fleet.start(name)

    def quiet() -> bool:
        finals = {(d, p["id"]) for d in DEVICES for p in fleet.predictions(d) if not p["provisional"]}
        return len(finals) == samples and audit(fleet.folder)["waiting"] == 0

    try:
        await until(quiet, within_s=120, every_s=0.3)
    except TimeoutError:
        pytest.fail(f"no rest: {audit(fleet.folder)}; {dead_letters(fleet)}; {fleet.log('hub')[-2000:]}")


def check(fleet: Fleet, samples: int, storm: Storm) -> None:
    """Nothing is lost and nothing is there twice; only what a full disk refused is dropped, and its app was told."""
    books = audit(fleet.folder)
    wrong = {name: books[name] for name in ("lost", "duplicated", "refused", "waiting")}
    assert set(wrong.values()) == {0}, (books, storm.happened, dead_letters(fleet))
    promised = {(d, p["id"]) for d in DEVICES for p in fleet.predictions(d) if p["provisional"]}
    with closing(sqlite3.connect(fleet.folder / "hub" / "data" / "hub.db")) as database:
        stored = set(database.execute("SELECT node, sample_id FROM samples"))
        unanswered = database.execute("SELECT count(*) FROM samples WHERE answered_at IS NULL").fetchone()[0]
    assert promised - stored == set()
    assert unanswered == 0
    assert len(promised) + books["dropped"] >= samples


def dead_letters(fleet: Fleet) -> dict[str, int]:
    """How many messages were given up, by who sent them and why."""
    found: dict[str, int] = {}
    for name in ("hub", *DEVICES):
        file = fleet.folder / name / "data" / ("hub.db" if name == "hub" else "agent.db")
        with closing(sqlite3.connect(file)) as database:
            for path, reason in database.execute("SELECT path, reason FROM dead_letters"):
                found[f"{name}, {path}: {reason}"] = found.get(f"{name}, {path}: {reason}", 0) + 1
    return found


@asynccontextmanager
async def listener(broker: RunningBroker, device: str) -> AsyncIterator[list[Deferral]]:
    """Every `later` that the hub says to a device while somebody listens in with the device's account."""
    heard: list[Deferral] = []
    access = broker.client(device, protocol="3.1.1")
    topics = [downlink("default", device)]

    async def listen(bus: MqttBus) -> None:
        async for event in bus.events():
            if isinstance(event, Incoming):
                bus.ack(event)
                if event.topic == DOWN_RECEIPT.topic("default", device):
                    heard.extend(decode(Receipt, event.payload).later)

    async with MqttBus(access, client_id="listener", subscriptions=topics, will=None, random=Random(1)) as bus:
        task = asyncio.create_task(listen(bus), name="listener")
        yield heard
    await task


@pytest.mark.timeout(240)
async def test_the_books_close_after_sixty_faults(tmp_path: Path) -> None:
    async with mosquitto(tmp_path, nodes=DEVICES) as broker:
        await live(tmp_path, broker, samples=3000, faults=64)


@pytest.mark.timeout(240)
async def test_the_books_close_on_the_embedded_broker_with_a_hub_that_lacks_room(tmp_path: Path) -> None:
    """MQTT 3.1.1 is set: to find out that this broker has no other takes every new process three seconds.

    It is slow, so on a busy machine what is sent again every second would fill it faster than it empties.
    """
    kinds = (*KILLS_AND_CUTS, Storm.cramp_hub)
    environment = {
        "SKERRY_MQTT__PROTOCOL": "3.1.1", "SKERRY_LIMITS__DISK_RESERVE": str(RESERVE), "SKERRY_PACE__LAST_S": "8.0",
    }  # fmt: skip
    async with amqtt_broker(tmp_path, nodes=DEVICES) as broker, listener(broker, DEVICES[0]) as put_off:
        await live(tmp_path, broker, samples=600, faults=25, kinds=kinds, environment=environment, put_off=put_off)
        assert {deferral.reason.split(" in ")[0] for deferral in put_off} == {f"less than {RESERVE} bytes are free"}


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 8))
async def test_the_books_close_after_hundreds_of_faults(tmp_path: Path, seed: int) -> None:
    async with mosquitto(tmp_path, nodes=DEVICES) as broker:
        await live(tmp_path, broker, samples=30_000, faults=400, pause_s=0.5, seed=seed)
