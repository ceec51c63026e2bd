"""Kills in the middle of a transfer, on a real broker and a slow line: what has come counts, and nothing is lost."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from messages.channels import UP_SAMPLE
from messages.delivery.ledger import total
from messages.delivery.rows import Outcome
from messages.delivery.sqlite import SqliteStore
from messages.shapes import BlobRef
from scripts.benches.blob.programs import Program, program
from tests.support.brokers import mosquitto
from tests.support.events import until
from tests.support.fleet import Fleet
from tests.support.proxy import proxy

SIZE = 6_000_000
RATE = 4_000_000.0


@asynccontextmanager
async def running(role: str, port: int, folder: Path) -> AsyncIterator[Program]:
    """A program with its blobs in a folder, killed at the end."""
    starting = program(role, port, folder)
    yield await asyncio.to_thread(starting.__enter__)
    await asyncio.to_thread(starting.__exit__, None, None, None)


def come(folder: Path) -> int:
    """Bytes on the disk of what is not whole yet."""
    return sum(part.stat().st_blocks * 512 for part in folder.glob("data/blobs/in/*.part"))


@pytest.mark.timeout(120)
async def test_a_model_arrives_although_both_ends_are_killed_on_the_way(tmp_path: Path) -> None:
    source, device = tmp_path / "model", tmp_path / "agent"
    source.write_bytes(np.random.default_rng(0).bytes(SIZE))
    async with mosquitto(tmp_path) as broker, proxy(broker.port) as line:
        line.down.bytes_per_s = RATE
        async with running("hub", broker.port, tmp_path / "hub") as hub:
            ref = await asyncio.to_thread(hub.order, str(source))
            async with running("agent", line.port, device) as agent:
                fetch = asyncio.create_task(asyncio.to_thread(agent.order, ref))
                await until(lambda: come(device) > SIZE // 6, within_s=30)
                os.kill(agent.pid, signal.SIGKILL)
                with pytest.raises(RuntimeError):
                    await fetch
            had = come(device)
            async with running("agent", line.port, device) as agent:
                fetch = asyncio.create_task(asyncio.to_thread(agent.order, f"+{ref}"))
                await until(lambda: come(device) > SIZE // 2, within_s=30)
                os.kill(hub.pid, signal.SIGKILL)
                async with running("hub", broker.port, tmp_path / "hub") as again:
                    assert await asyncio.to_thread(again.order, str(source)) == ref
                    crossed = int((await fetch).split()[1])
    name = msgspec.json.decode(ref, type=BlobRef).sha256
    assert sha256((device / "data" / "blobs" / "in" / name).read_bytes()).hexdigest() == name
    assert crossed < 1.2 * (SIZE - had)


WIDE = 250_000
"""Numbers of a sample, four bytes each."""

SOURCE = f"""
import numpy as np

def wide(*, count):
    for n in range(count):
        yield f"w{{n}}", np.random.default_rng(n).normal(size={WIDE}).astype("float32")
    import time
    while True:
        time.sleep(60.0)
"""


class WideFleet(Fleet):
    """Its devices have large samples."""

    def _write(self, folder: Path, name: str, access: str, **source: Any) -> None:
        if name == "hub":
            super()._write(folder, name, access, **source)
            return
        np.savez(folder / "wide.npz", w0=np.zeros((WIDE, 2), "float32"), b0=np.zeros(2, "float32"))
        (folder / "wide.py").write_text(SOURCE)
        job = '[jobs.side]\nmodel = "wide.npz"\nkeep = "every"\npolicy = "cloud_only"\n'
        job += f'[jobs.side.source]\nuse = "wide:wide"\ncount = {source["count"]}\n'
        (folder / "agent.toml").write_text(f'node = "{name}"\nbeat_s = 1.0\n{access}{job}')


def ledger(folder: Path, program: str) -> SqliteStore:
    return SqliteStore(sqlite3.connect(folder / "data" / f"{program}.db", isolation_level=None))


@pytest.mark.timeout(120)
async def test_large_samples_arrive_once_although_both_ends_are_killed_on_the_way(tmp_path: Path) -> None:
    count = 4
    async with mosquitto(tmp_path, nodes=["device-1"]) as broker, AsyncExitStack() as stack:
        fleet = WideFleet(tmp_path, broker, ["device-1"])
        await fleet.set_up(stack, count=count, interval_s=0.0, disks=False)
        fleet.links["device-1"].up.bytes_per_s = RATE / 4.0
        await fleet.start("hub")
        await fleet.start("device-1")
        for victim, at in (("hub", WIDE), ("device-1", 2 * WIDE)):
            await until(lambda at=at: come(tmp_path / "hub") > at, within_s=30)  # type: ignore[misc]
            await fleet.kill(victim)
            await fleet.start(victim)
        with closing(sqlite3.connect(tmp_path / "device-1" / "data" / "agent.db")) as outbox:
            rows = "SELECT count(*) FROM outbox WHERE path = 'up/sample'"
            await until(lambda: stored(tmp_path) >= count and not outbox.execute(rows).fetchone()[0], within_s=60)
        await until(lambda: not list((tmp_path / "hub").glob("data/blobs/*/*")), within_s=10)
        await fleet.stop()
    with closing(sqlite3.connect(tmp_path / "hub" / "data" / "hub.db")) as hub:
        found = dict(hub.execute("SELECT sample_id, data FROM samples").fetchall())
    wanted = {f"w{n}": np.random.default_rng(n).normal(size=WIDE).astype("float32").tobytes() for n in range(count)}
    assert found == wanted
    ours, hubs = (ledger(tmp_path / name, kind).ledger() for name, kind in (("device-1", "agent"), ("hub", "hub")))
    sums = [total(ours, outcome, UP_SAMPLE.path) for outcome in (Outcome.CREATED, Outcome.DONE, Outcome.DROPPED)]
    assert sums[0] == sums[1] >= count
    assert sums[2] == 0
    assert total(hubs, Outcome.STORED, UP_SAMPLE.path) == count


def stored(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "hub" / "data" / "hub.db")) as hub:
        return int(hub.execute("SELECT count(*) FROM samples").fetchone()[0])
