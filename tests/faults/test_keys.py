"""Killed at any moment of a rotation, an agent ends with the new key and the wanted policy, and the old key is dead."""

import asyncio
import json
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random

import pytest

from cloud_hub.keys import FILE, release_key, root_key, vouch
from edge_agent import storage
from edge_agent.core.trust import KEPT, believed
from messages import channels
from messages.codec import encode
from messages.desk.leftovers import reading
from messages.signing import KeyList, PublicKey, Signer
from tests.faults.test_desired import NAME, fleet_with_trust, starts, versions, want
from tests.support.commands import agent, hub
from tests.support.events import until
from tests.support.fleet import Fleet
from tests.support.stranger import stranger
from tests.support.wishes import desired, policy, state

KILLS = 4
LAST = 2**53 - 1


def rotate(fleet: Fleet) -> Signer:
    """A person replaces the release key beside the hub that runs; returns the old one, as a thief has it."""
    old = release_key(fleet.folder / "hub" / "data" / FILE).signer
    done = hub("keys", "rotate", "--root", fleet.folder / "root.key", "--config", fleet.folder / "hub" / "hub.toml")
    assert done.returncode == 0, done.stderr
    return old


def key_list(fleet: Fleet, root: PublicKey) -> KeyList | None:
    """What the node has stored."""
    with closing(reading(fleet.folder / NAME / "data" / storage.DATABASE, "agent")) as reader:
        row = reader.execute("SELECT body FROM kept WHERE name = ?", (KEPT,)).fetchone()
    found = believed(row and row[0], [root])
    return found.key_list if found else None


def refusals(fleet: Fleet) -> list[str]:
    """What the node did not believe."""
    done = agent("quarantine", "list", "--json", "--config", fleet.folder / NAME / "agent.toml")
    return [row["reason"] for row in json.loads(done.stdout)]


@pytest.mark.timeout(120)
async def test_rotations_with_kills_at_any_moment_end_with_the_new_key_and_the_old_one_refused(tmp_path: Path) -> None:
    random = Random(2)
    root = root_key(tmp_path / "root.key", make=True)
    file = tmp_path / "hub" / "data" / FILE
    vouch(release_key(file).file, root, KeyList(namespace="default", epoch=1, keys=("",)), renew=False)
    async with AsyncExitStack() as stack:
        fleet = await fleet_with_trust(stack, tmp_path)
        old: list[Signer] = []
        for number in range(1, KILLS + 1):
            await until(lambda: starts(fleet) == number, within_s=20)  # noqa: B023  # it is asked before the next
            want(fleet, number)
            old.append(rotate(fleet))
            await asyncio.sleep(random.uniform(0.0, 1.5))
            await fleet.kill(NAME)
            await fleet.start(NAME)
        wanted = release_key(file)
        assert wanted.epoch == KILLS + 1
        await until(lambda: starts(fleet) == KILLS + 1 and "connected to" in fleet.log(NAME).rpartition("starts")[2],
                    within_s=20)  # fmt: skip
        await until(lambda: versions(fleet)[-1:] == [KILLS], within_s=30)
        await until(lambda: key_list(fleet, root.public) == wanted.key_list, within_s=20)
        await fleet.kill("hub")  # a thief with its account would cut it, and it the thief
        async with stranger(fleet.broker, "hub") as thief:
            for number, signer in enumerate(old, 1):
                for epoch in (number, wanted.epoch, LAST):
                    document = policy(666, "side")
                    signed = state(LAST, document, epoch=epoch, node=NAME, names=("policy/side",))
                    payload = encode(desired(signed, document, signer=signer, number=number))
                    assert not await thief.throw(channels.DOWN_DESIRED.topic("default", NAME), payload)
        await until(lambda: sum("not trusted here" in reason for reason in refusals(fleet)) == 3 * KILLS, within_s=20)
        await fleet.start("hub")
        want(fleet, KILLS + 1)
        await until(lambda: versions(fleet)[-1:] == [KILLS + 1], within_s=20)
        assert 666 not in versions(fleet)
        assert versions(fleet) == sorted(versions(fleet))
        assert "Traceback" not in fleet.log(NAME) + fleet.log("hub")
        assert (await fleet.stop())[NAME] == 0
