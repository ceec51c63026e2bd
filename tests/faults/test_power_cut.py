"""A power cut leaves of a database what was synced, and no more. What was promised must be among it."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random

import pytest

from messages.channels import UP_SAMPLE
from messages.delivery.ledger import total
from messages.delivery.rows import Outcome
from scripts.demos.digits.audit import Ledger, audit
from tests.faults.test_storm import at_rest
from tests.support.brokers import ROOT, mosquitto
from tests.support.events import until
from tests.support.fleet import Fleet
from tests.support.power import Power, compiled

DEVICES = ("device-1", "device-2", "device-3")
SAMPLES = 900

WRITER = """
import sqlite3, sys
from pathlib import Path
from messages.delivery.rows import Draft, Kind
from messages.delivery.sqlite import SqliteStore, connect

connection = connect(Path(sys.argv[1]), full=sys.argv[2] == "full")
store = SqliteStore(connection)
for number in range(50):
    with store.synced() if sys.argv[2] == "synced" else store.transaction():
        store.put(Draft(peer="hub", path="p", job="j", kind=Kind.SAMPLE, body=b"x" * 100, created=0.0))
    if number == 24:
        connection.execute("PRAGMA wal_checkpoint")
    print(number, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled layer."""
    return compiled(tmp_path_factory.mktemp("layer"))


def written_before_a_cut(tmp_path: Path, layer: Path, sync: str) -> int:
    """How many of 50 committed rows are there after a power cut, when the first 25 were checkpointed."""
    folder = tmp_path / "data"
    folder.mkdir()
    power = Power(folder, layer)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder / "a.db"), sync],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **power.environment},
    )  # fmt: skip
    assert process.stdout is not None
    assert [int(process.stdout.readline()) for _ in range(50)] == list(range(50))
    process.kill()
    process.communicate()
    power.cut()
    with closing(sqlite3.connect(folder / "a.db")) as database:
        return int(database.execute("SELECT count(*) FROM outbox").fetchone()[0])


def test_of_normal_commits_only_what_was_checkpointed_survives(tmp_path: Path, layer: Path) -> None:
    assert written_before_a_cut(tmp_path, layer, "normal") == 25


@pytest.mark.parametrize("sync", ["full", "synced"])
def test_a_full_commit_survives(tmp_path: Path, layer: Path, sync: str) -> None:
    assert written_before_a_cut(tmp_path, layer, sync) == 50


class Storm:
    """Cuts the power of one process again and again, each time when it has made promises that only it could keep."""

    def __init__(self, fleet: Fleet, name: str, layer: Path, random: Random, *, lies: bool = False) -> None:
        self._fleet = fleet
        self._name = name
        self._random = random
        self._power = Power(fleet.folder / name / "data", layer, lies=lies)
        self.unheard: set[str] = set()
        fleet.environment[name] = self._power.environment

    async def blow(self, cuts: int) -> None:
        """The hub's promises are receipts; a device's are provisional predictions that never reached the hub."""
        for _ in range(cuts):
            await asyncio.sleep(self._random.uniform(0.0, 0.5))
            await (self._hub_loses_power() if self._name == "hub" else self._device_loses_power())

    async def _hub_loses_power(self) -> None:
        await grown(lambda: receipts(self._fleet), by=20)
        await self._cut()

    async def _device_loses_power(self) -> None:
        link = self._fleet.links[self._name]
        link.refuse()
        await grown(lambda: len(self._fleet.predictions(self._name)), by=10)
        await self._fleet.kill(self._name)
        self.unheard |= promised(self._fleet, self._name) - stored(self._fleet, self._name)
        await self._cut()
        await link.open()

    async def _cut(self) -> None:
        await self._fleet.kill(self._name)
        self._power.cut()
        await self._fleet.start(self._name)


async def grown(figure: Callable[[], int], *, by: int) -> None:
    """Until a figure that only grows has grown."""
    least = figure() + by
    await until(lambda: figure() >= least, within_s=20)


def receipts(fleet: Fleet) -> int:
    """How many samples the devices have forgotten because the hub said that it has them."""
    ledgers = [Ledger(fleet.folder / name / "data" / "agent.db") for name in DEVICES]
    return sum(total(ledger.lines, Outcome.DONE, UP_SAMPLE.path) for ledger in ledgers)


def promised(fleet: Fleet, name: str) -> set[str]:
    """The samples for which a device's app was told that an answer will follow."""
    return {line["id"] for line in fleet.predictions(name) if line["provisional"]}


def answered(fleet: Fleet, name: str) -> set[str]:
    """The samples for which a device's app has a final prediction."""
    return {line["id"] for line in fleet.predictions(name) if not line["provisional"]}


def stored(fleet: Fleet, name: str) -> set[str]:
    """The samples of a device that the hub holds."""
    with closing(sqlite3.connect(fleet.folder / "hub" / "data" / "hub.db")) as database:
        return {row[0] for row in database.execute("SELECT sample_id FROM samples WHERE node = ?", (name,))}


async def live(
    folder: Path, layer: Path, victim: str, *, sync: str = "normal", cuts: int = 5, lies: bool = False
) -> tuple[Fleet, set[str]]:
    """Live through power cuts of one process and come to rest: the fleet, and what the hub could not know at a cut."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(folder, nodes=DEVICES))
        fleet = Fleet(folder, broker, DEVICES)
        more = f'[outbox]\nsync = "{sync}"\n'
        await fleet.set_up(stack, count=SAMPLES // len(DEVICES), interval_s=0.03, more=more, disks=False)
        storm = Storm(fleet, victim, layer, Random(1), lies=lies)
        for name in ("hub", *DEVICES):
            await fleet.start(name)
        await until(lambda: all(answered(fleet, name) for name in DEVICES), within_s=20)
        await storm.blow(cuts)
        await at_rest(fleet, SAMPLES) if sync == "full" and not lies else await all_told(fleet)
        await fleet.stop()
    return fleet, storm.unheard


async def all_told(fleet: Fleet) -> None:
    """Until all samples were judged, nothing waits, and each sample that the hub holds has its final prediction."""
    for name in ("hub", *DEVICES):
        await fleet.start(name)

    def told() -> bool:
        return (
            sum(len(promised(fleet, name)) for name in DEVICES) == SAMPLES
            and audit(fleet.folder)["waiting"] == 0
            and all(stored(fleet, name) <= answered(fleet, name) for name in DEVICES)
        )

    await until(told, within_s=60, every_s=0.3)


@pytest.mark.timeout(120)
async def test_the_hub_keeps_what_it_gave_a_receipt_for(tmp_path: Path, layer: Path) -> None:
    fleet, _ = await live(tmp_path, layer, "hub", sync="full")
    books = audit(fleet.folder)
    assert {books[name] for name in ("lost", "dropped", "refused", "duplicated")} == {0}, books
    for name in DEVICES:
        assert promised(fleet, name) == stored(fleet, name)


@pytest.mark.timeout(120)
async def test_on_a_disk_that_lies_the_audit_finds_what_the_hub_lost(tmp_path: Path, layer: Path) -> None:
    fleet, _ = await live(tmp_path, layer, "hub", cuts=1, lies=True)
    missing = sum(len(promised(fleet, name) - stored(fleet, name)) for name in DEVICES)
    assert missing >= 20
    assert audit(fleet.folder)["lost"] >= missing


@pytest.mark.timeout(120)
async def test_an_agent_that_syncs_fully_keeps_every_promise(tmp_path: Path, layer: Path) -> None:
    fleet, unheard = await live(tmp_path, layer, "device-1", sync="full")
    books = audit(fleet.folder)
    assert {books[name] for name in ("lost", "dropped", "refused", "duplicated")} == {0}, books
    assert len(unheard) >= 10
    assert promised(fleet, "device-1") == stored(fleet, "device-1")


@pytest.mark.timeout(120)
async def test_an_agent_that_does_not_loses_what_never_left_it_and_nothing_else(tmp_path: Path, layer: Path) -> None:
    """Its ledger and its ids went back in time, the hub's did not: no id is re-used, no sample is there twice."""
    fleet, unheard = await live(tmp_path, layer, "device-1", sync="normal")
    books = audit(fleet.folder, lost_power=["device-1"])
    assert {books[name] for name in ("lost", "dropped", "refused", "duplicated")} == {0}, books
    assert books["rolled_back"] > 0
    missing = promised(fleet, "device-1") - stored(fleet, "device-1")
    assert missing
    assert missing <= unheard
    with closing(sqlite3.connect(fleet.folder / "hub" / "data" / "hub.db")) as database:
        assert database.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
