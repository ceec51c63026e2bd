"""A hub and devices that live through something, come to rest, and close the books."""

import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from scripts.demos.digits.audit import audit
from tests.support.brokers import mosquitto
from tests.support.events import until
from tests.support.fleet import Fleet


@asynccontextmanager
async def outing(
    folder: Path,
    devices: Sequence[str] = ("device-1",),
    *,
    count: int,
    interval_s: float = 0.0,
    more: str = "",
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Fleet]:
    """A fleet on a mosquitto of its own that is set up and not started. `environment` is for the devices."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(folder, nodes=devices))
        fleet = Fleet(folder, broker, devices)
        fleet.environment = {name: dict(environment or {}) for name in devices}
        await fleet.set_up(stack, count=count, interval_s=interval_s, more=more, disks=False)
        yield fleet


def finals(fleet: Fleet, name: str = "device-1") -> int:
    """How many of a device's samples have their final prediction."""
    return len({line["id"] for line in fleet.predictions(name) if not line["provisional"]})


async def all_final(fleet: Fleet, count: int, *, within_s: float) -> None:
    """Until each device has `count` final predictions and nothing waits."""

    def rests() -> bool:
        return all(finals(fleet, name) >= count for name in fleet.devices) and audit(fleet.folder)["waiting"] == 0

    await until(rests, within_s=within_s, every_s=0.1)


async def the_books_close(fleet: Fleet, samples: int) -> None:
    """Everybody stops in order, nobody had a bug, and each of so many samples was stored and answered once."""
    codes = await fleet.stop()
    assert set(codes.values()) == {0}, codes
    for name in codes:
        assert "Traceback" not in fleet.log(name)
    books = audit(fleet.folder)
    assert books == dict.fromkeys(books, 0) | {"samples": samples, "answers": samples}


def ask(fleet: Fleet, name: str, sql: str) -> list[Any]:
    """What a process's database says."""
    file = fleet.folder / name / "data" / ("hub.db" if name == "hub" else "agent.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return database.execute(sql).fetchall()
