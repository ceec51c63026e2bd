"""Bad links between real processes: slow, torn into single bytes, far, and shared with a second client by mistake."""

import asyncio
import shutil
from pathlib import Path

import psutil
import pytest

from scripts.demos.digits.audit import audit
from tests.support.events import until
from tests.support.outings import all_final, ask, finals, outing, the_books_close
from tests.support.proxy import Direction

PACE = {"SKERRY_PACE__FIRST_S": "2", "SKERRY_PACE__LAST_S": "60"}
"""As it is when nobody sets it; the fleet's own is for fast links."""
PER_SAMPLE = 1000
"""Bytes that a sample may take on the way up, with receipts, reports and heartbeats: its own message is 250."""


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("way", "samples"),
    [(Direction(bytes_per_s=20_000 / 8), 40), (Direction(piece=1), 8), (Direction(latency_s=0.15), 300)],
    ids=["20 kbit a second", "1-byte writes", "300 ms round trip"],
)
async def test_over_a_bad_link_all_arrives_and_is_sent_hardly_more_than_once(
    tmp_path: Path, way: Direction, samples: int
) -> None:
    async with outing(tmp_path, count=samples, environment=PACE | {"SKERRY_BEAT_S": "5"}) as fleet:
        fleet.environment["hub"] = PACE
        link = fleet.links["device-1"]
        link.up = way
        link.down = Direction(way.latency_s, way.bytes_per_s, way.piece)
        await fleet.start("hub")
        await fleet.start("device-1")
        await all_final(fleet, samples, within_s=60)
        assert link.up.passed < PER_SAMPLE * samples
        await the_books_close(fleet, samples)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.soak)])
async def test_a_link_that_is_cut_three_times_a_second_loses_nothing_and_fills_no_log(
    tmp_path: Path, seconds: int
) -> None:
    async with outing(tmp_path, count=10 * seconds, interval_s=0.1) as fleet:
        for name in ("hub", "device-1"):
            await fleet.start(name)
        await until(lambda: finals(fleet) > 0, within_s=20)
        memory = [psutil.Process(fleet.process(name).pid).memory_info().rss for name in ("hub", "device-1")]
        for number in range(3 * seconds):
            fleet.links[("hub", "device-1")[number % 2]].cut()
            await asyncio.sleep(1 / 3)
        await all_final(fleet, 10 * seconds, within_s=40)
        for name, before in zip(("hub", "device-1"), memory, strict=True):
            assert psutil.Process(fleet.process(name).pid).memory_info().rss < before + (8 << 20)
        assert fleet.log("device-1").count("\n") < 30
        await the_books_close(fleet, 10 * seconds)


@pytest.mark.timeout(90)
async def test_two_agents_of_one_name_are_told_so_and_all_is_delivered_when_one_goes(tmp_path: Path) -> None:
    """An answer goes to whoever is connected then; no sample is lost."""
    samples = 60
    async with outing(tmp_path, count=samples, interval_s=0.1) as fleet:
        twin = tmp_path / "twin"
        shutil.copytree(tmp_path / "device-1", twin)
        config = twin / "agent.toml"
        config.write_text(config.read_text().replace(f"count = {samples}", "count = 0"))
        for name in ("hub", "device-1", "twin"):
            await fleet.start(name)
        hint = "does another client use the id 'device-1'?"
        await until(lambda: hint in fleet.log("device-1") and hint in fleet.log("twin"), within_s=30)
        taken = finals(fleet, "twin")
        fleet.process("twin").terminate()
        await fleet.process("twin").wait()

        def delivered() -> bool:
            return finals(fleet) + finals(fleet, "twin") >= samples and audit(tmp_path)["waiting"] == 0

        await until(delivered, within_s=40, every_s=0.1)
        assert fleet.log("device-1").count("\n") < 20
        assert set((await fleet.stop()).values()) == {0}
        assert ask(fleet, "hub", "SELECT count(*), count(answered_at) FROM samples") == [(samples, samples)]
        books = audit(tmp_path)
        assert taken <= books["lost"] == finals(fleet, "twin")
        assert {books[name] for name in ("dropped", "refused", "waiting", "duplicated")} == {0}
