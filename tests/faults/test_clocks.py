"""A wall clock that jumps to 1970 or to 2040 and back, while a program runs and over its restart: nothing minds."""

from pathlib import Path

import pytest

from scripts.demos.digits.audit import audit
from tests.support.events import until
from tests.support.fleet import Fleet
from tests.support.outings import ask, finals, outing, the_books_close
from tests.support.power import WallClock, compiled

SAMPLES = 120


async def goes_on(fleet: Fleet, number: int) -> None:
    """Until so many more samples were answered, and the hub thinks that the node is there."""
    least = min(SAMPLES, finals(fleet) + number)

    def well() -> bool:
        return finals(fleet) >= least and ask(fleet, "hub", "SELECT online FROM nodes") == [(1,)]

    await until(well, within_s=20, every_s=0.1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["device-1", "hub"])
async def test_a_clock_that_jumps_loses_nothing_and_stops_nobody(tmp_path: Path, name: str) -> None:
    more = "sample = {rows = 1000, age_s = 3600.0}\n[outbox.audit]\nage_s = 3600.0\n"
    async with outing(tmp_path, count=SAMPLES, interval_s=0.1, more=f"[outbox]\n{more}") as fleet:
        clock = WallClock(tmp_path / "shift", compiled(tmp_path, "shifted"))
        fleet.environment[name] = (
            {**clock.environment, "SKERRY_LIMITS__AGE_S": "3600"} if name == "hub" else clock.environment
        )
        for program in ("hub", "device-1"):
            await fleet.start(program)
        await goes_on(fleet, 5)
        for year in (1970, 2040, 0):
            clock.set_to(year)
            await goes_on(fleet, 8)
            await fleet.kill(name)
            await fleet.start(name)
            await goes_on(fleet, 8)
        reports = [ask(fleet, "hub", "SELECT report FROM reports")]
        await goes_on(fleet, SAMPLES)
        await until(lambda: audit(tmp_path)["waiting"] == 0, within_s=20)
        await until(lambda: ask(fleet, "hub", "SELECT report FROM reports") not in reports, within_s=20)
        await the_books_close(fleet, SAMPLES)


@pytest.mark.timeout(60)
async def test_a_hub_whose_clock_jumps_ahead_forgets_no_sample(tmp_path: Path) -> None:
    """Answered samples are kept for ninety days of run time, whatever the clock says."""
    async with outing(tmp_path, count=20) as fleet:
        clock = WallClock(tmp_path / "shift", compiled(tmp_path, "shifted"))
        fleet.environment["hub"] = clock.environment
        await fleet.start("hub")
        await fleet.start("device-1")
        await until(lambda: finals(fleet) == 20, within_s=20)
        clock.set_to(2040)
        await fleet.kill("hub")
        await fleet.start("hub")
        seen = "SELECT seen_at > 2000000000000 FROM nodes"
        await until(lambda: ask(fleet, "hub", seen) == [(1,)], within_s=20)
        await until(lambda: audit(tmp_path)["waiting"] == 0, within_s=20)
        await the_books_close(fleet, 20)
