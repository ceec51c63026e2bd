"""A week without a link: thousands of samples wait, and what is fresh overtakes them."""

import time
from contextlib import closing
from pathlib import Path

import msgspec
import psutil
import pytest

from messages.channels import HUB, UP_SAMPLE
from messages.codec import encode_body
from messages.delivery.bounds import Bounds
from messages.delivery.rows import Draft, Kind
from messages.delivery.sqlite import SqliteStore, connect
from messages.shapes import Classes, HardSample
from messages.tensors import pack
from tests.support.events import until
from tests.support.fleet import Fleet
from tests.support.outings import ask, outing, the_books_close
from tests.support.small_agent import number

WEEK_S = 7 * 86_400.0
MORE = "[outbox.sample]\nrows = 0\nage_s = 0.0\n"
MEMORY_BYTES = 60 << 20
"""By so much may either end grow while it drains."""


def waiting_since_a_week(fleet: Fleet, rows: int) -> None:
    """Fill the agent's outbox as the agent does, one row in so many seconds of run time."""
    with closing(connect(fleet.folder / "device-1" / "data" / "agent.db", full=False)) as connection:
        store = SqliteStore(connection)
        bounds = Bounds(store, {})
        with store.transaction():
            for n in range(rows):
                sample = HardSample(
                    event_id="", timestamp=1, job="side", sample_id=f"old{n}", x=pack(number(n + 0.25)),
                    edge=Classes(probs=(0.5, 0.5)), reason="hard",
                )  # fmt: skip
                draft = Draft(
                    peer=HUB, path=UP_SAMPLE.path, job="side", kind=Kind.SAMPLE, key=f"old{n}",
                    created=WEEK_S * n / rows, body=encode_body(sample),
                )  # fmt: skip
                bounds.put(draft)


def memory(fleet: Fleet, name: str) -> int:
    return int(psutil.Process(fleet.process(name).pid).memory_info().rss)


def samples(fleet: Fleet) -> int:
    return int(ask(fleet, "hub", "SELECT count(*) FROM samples")[0][0])


async def drain(folder: Path, rows: int, *, within_s: float) -> None:
    """Let the agent connect with `rows` rows that wait; a report of now must be there long before the last of them."""
    async with outing(folder, count=0, more=MORE) as fleet:
        waiting_since_a_week(fleet, rows)
        await fleet.start("hub")
        await fleet.start("device-1")
        await until(lambda: "ready" in fleet.log("hub") and samples(fleet) > 0, within_s=20)
        begin, before = time.monotonic(), {name: memory(fleet, name) for name in ("hub", "device-1")}
        await until(lambda: bool(ask(fleet, "hub", "SELECT 1 FROM reports")), within_s=20)
        behind = rows - samples(fleet)
        await until(lambda: samples(fleet) == rows, within_s=within_s)
        seconds = time.monotonic() - begin
        grown = {name: memory(fleet, name) - before[name] for name in before}
        await until(lambda: not ask(fleet, "hub", "SELECT 1 FROM outbox LIMIT 1"), within_s=within_s, every_s=0.2)
        print(f"{rows / seconds:.0f} rows/s; {behind} were behind the first report; grown by {grown} bytes")
        assert behind > rows // 4
        assert max(grown.values()) < MEMORY_BYTES
        await until(lambda: not ask(fleet, "device-1", "SELECT 1 FROM outbox WHERE kind = 'sample'"), within_s=20)
        (status,) = ask(fleet, "hub", "SELECT status FROM nodes")[0]
        assert msgspec.json.decode(status)["state"] == "online"
        await the_books_close(fleet, rows)


@pytest.mark.serial
@pytest.mark.timeout(90)
async def test_ten_thousand_old_samples_arrive_and_a_fresh_report_overtakes_them(tmp_path: Path) -> None:
    await drain(tmp_path, 10_000, within_s=60)


@pytest.mark.soak
@pytest.mark.timeout(400)
async def test_fifty_thousand_old_samples_arrive_and_a_fresh_report_overtakes_them(tmp_path: Path) -> None:
    await drain(tmp_path, 50_000, within_s=300)
