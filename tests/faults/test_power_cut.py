"""A power cut leaves of a database what was synced, and no more. What was promised must be among it."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random

import pytest

from scripts.demos.digits.audit import Ledger, audit
from tests.faults.test_storm import at_rest
from tests.support.brokers import ROOT, mosquitto
from tests.support.fleet import Fleet

DEVICES = ("device-1", "device-2", "device-3")
SAMPLES = 600

WRITER = """
import sqlite3, sys
from pathlib import Path
from messages.delivery.rows import Draft, Kind
from messages.delivery.sqlite import SqliteStore, connect

connection = connect(Path(sys.argv[1]), full=sys.argv[2] != "NORMAL")
connection.execute("PRAGMA synchronous = " + sys.argv[2])
store = SqliteStore(connection)
for number in range(50):
    with store.transaction():
        store.put(Draft(peer="hub", path="p", job="j", kind=Kind.SAMPLE, body=b"x" * 100, created=0.0))
    print(number, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled layer."""
    library = tmp_path_factory.mktemp("layer") / "synced.so"
    source = ROOT / "tests/support/synced.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Power:
    """The power supply of one folder: `cut` leaves there only what was synced."""

    def __init__(self, folder: Path, layer: Path) -> None:
        self._folder = folder
        self._synced = folder.parent / f"{folder.name}-synced"
        self._synced.mkdir()
        self.environment = {
            "LD_PRELOAD": str(layer), "SYNCED_FROM": str(folder.resolve()), "SYNCED_TO": str(self._synced.resolve()),
        }  # fmt: skip

    def cut(self) -> None:
        """Call it when the process is dead."""
        for file in self._folder.glob("*.db*"):
            file.unlink()
        for file in self._synced.glob("*.db*"):
            if file.suffix != ".part":
                shutil.copy(file, self._folder)


def written_before_a_cut(tmp_path: Path, layer: Path, synchronous: str) -> int:
    """How many of 50 committed rows are there after a power cut."""
    folder = tmp_path / "data"
    folder.mkdir()
    power = Power(folder, layer)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder / "a.db"), synchronous],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **power.environment},
    )  # fmt: skip
    assert process.stdout is not None
    assert [int(process.stdout.readline()) for _ in range(50)] == list(range(50))
    process.kill()
    process.communicate()
    power.cut()
    with closing(sqlite3.connect(folder / "a.db")) as database:
        try:
            return int(database.execute("SELECT count(*) FROM outbox").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def test_the_layer_sees_what_is_not_synced(tmp_path: Path, layer: Path) -> None:
    assert written_before_a_cut(tmp_path, layer, "OFF") < 50


def test_a_full_commit_survives(tmp_path: Path, layer: Path) -> None:
    assert written_before_a_cut(tmp_path, layer, "FULL") == 50


async def promises(fleet: Fleet, name: str, *, more: int) -> None:
    """Until a device has promised its app so many further finals."""
    least = len(fleet.predictions(name)) + more
    async with asyncio.timeout(20):
        while True:
            if len(fleet.predictions(name)) >= least:
                return
            await asyncio.sleep(0.02)


async def lose_power(fleet: Fleet, name: str, power: Power) -> None:
    """Cut the power; a device has promises that the hub does not know by then, for those alone can be lost."""
    link = None if name == "hub" else fleet.links[name]
    if link:
        link.refuse()
        await promises(fleet, name, more=10)
    await fleet.kill(name)
    power.cut()
    if link:
        await link.open()
    await fleet.start(name)


async def storm_of_cuts(folder: Path, layer: Path, victims: tuple[str, ...], *, agent_sync: str = "normal") -> Fleet:
    """Cut the power of the victims at random moments while samples flow, then come to rest."""
    random = Random(1)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(folder, nodes=DEVICES))
        fleet = Fleet(folder, broker, DEVICES)
        await fleet.set_up(
            stack,
            count=SAMPLES // len(DEVICES),
            interval_s=0.03,
            more=f'[outbox]\nsync = "{agent_sync}"\n',
            disks=False,
        )
        powers = {name: Power(folder / name / "data", layer) for name in victims}
        for name, power in powers.items():
            fleet.environment[name] = power.environment
        for name in ("hub", *DEVICES):
            await fleet.start(name)
        await asyncio.sleep(1.5)
        for _ in range(4):
            await asyncio.sleep(random.uniform(0.2, 1.0))
            for name, power in powers.items():
                await lose_power(fleet, name, power)
        await at_rest(fleet, SAMPLES)
        await fleet.stop()
    return fleet


@pytest.mark.serial
@pytest.mark.timeout(120)
async def test_the_hub_keeps_what_it_gave_a_receipt_for(tmp_path: Path, layer: Path) -> None:
    fleet = await storm_of_cuts(tmp_path, layer, ("hub",))
    books = audit(fleet.folder)
    assert (books["lost"], books["dropped"], books["refused"]) == (0, 0, 0), books
    promised = {(d, p["id"]) for d in DEVICES for p in fleet.predictions(d) if p["provisional"]}
    with closing(sqlite3.connect(fleet.folder / "hub" / "data" / "hub.db")) as database:
        stored = set(database.execute("SELECT node, sample_id FROM samples"))
    assert promised - stored == set()


@pytest.mark.serial
@pytest.mark.timeout(120)
async def test_an_agent_that_syncs_fully_keeps_every_promise(tmp_path: Path, layer: Path) -> None:
    fleet = await storm_of_cuts(tmp_path, layer, ("device-1",), agent_sync="full")
    ledger = Ledger(fleet.folder / "device-1" / "data" / "agent.db")
    assert ledger.waiting("hub", "up/sample") == 0
    promised = {p["id"] for p in fleet.predictions("device-1") if p["provisional"]}
    with closing(sqlite3.connect(fleet.folder / "hub" / "data" / "hub.db")) as database:
        stored = {row[0] for row in database.execute("SELECT sample_id FROM samples WHERE node = 'device-1'")}
    assert promised - stored == set()
    assert len(promised) == SAMPLES // len(DEVICES)
