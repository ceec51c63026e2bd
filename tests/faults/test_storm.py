"""Sixty faults over three thousand hard samples, on real processes and a real broker: the books close."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random

import pytest

from cloud_hub.broker.files import acl_text
from scripts.demos.digits.audit import audit
from tests.support.brokers import mosquitto
from tests.support.fleet import Fleet

DEVICES = ("device-1", "device-2", "device-3")


class Storm:
    """Breaks one thing at a time, and mends it again after a moment."""

    def __init__(self, fleet: Fleet, acl: Path, random: Random) -> None:
        self._fleet = fleet
        self._acl = acl
        self._random = random
        self.happened: dict[str, int] = {}

    async def blow(self, faults: int, pause_s: float) -> None:
        """Every kind of fault comes up, in the seed's order."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            *(self.kill_agent, self.kill_hub, self.kill_broker, self.freeze_broker),
            *(self.cut_link, self.half_open_link, self.fill_disk, self.deny_topics),
        ]
        order = [kinds[number % len(kinds)] for number in range(faults)]
        self._random.shuffle(order)
        for fault in order:
            await fault()
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

    async def deny_topics(self) -> None:
        """A person has broken the broker's access rules: nodes may not publish until it is mended."""
        self._acl.write_text("\n".join(line for line in acl_text("default").splitlines() if "write" not in line))
        await self._fleet.broker.restart()
        await self._moment()
        self._acl.write_text(acl_text("default"))
        await self._fleet.broker.restart()

    async def _kill(self, name: str) -> None:
        await self._fleet.kill(name)
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        await self._fleet.start(name)

    async def _moment(self) -> None:
        await asyncio.sleep(self._random.uniform(0.05, 0.6))


async def live(folder: Path, *, samples: int, faults: int, pause_s: float, seed: int) -> None:
    """Live through a storm, come to rest, and close the books."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(folder, nodes=DEVICES))
        fleet = Fleet(folder, broker, DEVICES)
        storm = Storm(fleet, folder / "broker" / "mosquitto.acl", Random(seed))
        length = faults * (pause_s / 2 + 0.5)
        await fleet.set_up(stack, count=samples // len(DEVICES), interval_s=0.9 * length * len(DEVICES) / samples)
        for name in ("hub", *DEVICES):
            await fleet.start(name)
        await storm.blow(faults, pause_s)
        await at_rest(fleet, samples)
        codes = await fleet.stop()
        assert set(codes.values()) == {0}, (codes, fleet.log("hub")[-3000:])
        check(fleet, samples, storm)


async def at_rest(fleet: Fleet, samples: int) -> None:
    """Until every sample has a final prediction and nothing waits."""
    for name in ("hub", *DEVICES):
        await fleet.start(name)
    async with asyncio.timeout(120):
        while True:
            finals = {(d, p["id"]) for d in DEVICES for p in fleet.predictions(d) if not p["provisional"]}
            if len(finals) == samples and audit(fleet.folder)["waiting"] == 0:
                return
            await asyncio.sleep(0.3)


def check(fleet: Fleet, samples: int, storm: Storm) -> None:
    """Nothing is lost and nothing is there twice; only what a full disk refused is dropped, and its app was told."""
    books = audit(fleet.folder)
    wrong = {name: books[name] for name in ("lost", "duplicated", "refused", "waiting")}
    assert set(wrong.values()) == {0}, (books, storm.happened)
    promised = {(d, p["id"]) for d in DEVICES for p in fleet.predictions(d) if p["provisional"]}
    with closing(sqlite3.connect(fleet.folder / "hub" / "data" / "hub.db")) as database:
        stored = set(database.execute("SELECT node, sample_id FROM samples"))
        unanswered = database.execute("SELECT count(*) FROM samples WHERE answered_at IS NULL").fetchone()[0]
    assert promised - stored == set()
    assert unanswered == 0
    assert len(promised) + books["dropped"] >= samples
    assert sum(storm.happened.values()) >= 60
    assert len(storm.happened) == 8


@pytest.mark.serial
@pytest.mark.timeout(240)
async def test_the_books_close_after_sixty_faults(tmp_path: Path) -> None:
    await live(tmp_path, samples=3000, faults=64, pause_s=0.3, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 8))
async def test_the_books_close_after_hundreds_of_faults(tmp_path: Path, seed: int) -> None:
    await live(tmp_path, samples=30_000, faults=400, pause_s=0.5, seed=seed)
