"""Killed at any moment, an agent starts again with a policy that its hub wanted, and never with an older one."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from cloud_hub.keys import FILE, release_key
from tests.support.brokers import mosquitto
from tests.support.commands import hub
from tests.support.events import until
from tests.support.fleet import Fleet

NAME = "device-1"
KILLS = 5


def versions(fleet: Fleet) -> list[int]:
    """The policies that were ever in force, in their order."""
    return [int(number) for number in re.findall(r"policy (\d+) of the hub is in force", fleet.log(NAME))]


def starts(fleet: Fleet) -> int:
    return fleet.log(NAME).count(f"node {NAME} starts")


def want(fleet: Fleet, number: int) -> None:
    """A person changes the policy beside the hub that runs."""
    config = fleet.folder / "hub" / "hub.toml"
    done = hub("policy", "set", "side", "--budget", 1 / (1 + number), "--config", config)
    assert done.returncode == 0, done.stderr


async def fleet_with_trust(stack: AsyncExitStack, folder: Path) -> Fleet:
    broker = await stack.enter_async_context(mosquitto(folder, nodes=[NAME]))
    fleet = Fleet(folder, broker, [NAME])
    trust = f"[trust]\n{release_key(folder / 'hub' / 'data' / FILE).line}\n"
    await fleet.set_up(stack, count=10_000, interval_s=0.02, disks=False, more=trust)
    config = folder / NAME / "agent.toml"
    config.write_text(config.read_text().replace('"cloud_only"', '"offload"'))
    for name in ("hub", NAME):
        await fleet.start(name)
    return fleet


@pytest.mark.timeout(120)
async def test_a_kill_at_any_moment_leaves_an_agent_that_runs_what_it_had(tmp_path: Path) -> None:
    random = Random(1)
    async with AsyncExitStack() as stack:
        fleet = await fleet_with_trust(stack, tmp_path)
        for number in range(1, KILLS + 1):
            await until(lambda: starts(fleet) == number, within_s=20)  # noqa: B023  # it is asked before the next
            want(fleet, number)
            await asyncio.sleep(random.uniform(0.0, 1.5))
            await fleet.kill(NAME)
            await fleet.start(NAME)
        await until(lambda: versions(fleet)[-1:] == [KILLS], within_s=30)
        await fleet.kill("hub")
        await fleet.kill(NAME)
        before = len(versions(fleet))
        await fleet.start(NAME)
        await until(lambda: len(versions(fleet)) > before, within_s=20)
        assert versions(fleet)[-1] == KILLS
        assert versions(fleet) == sorted(versions(fleet))
        assert starts(fleet) >= KILLS
        assert "Traceback" not in fleet.log(NAME)
        assert (await fleet.stop())[NAME] == 0
