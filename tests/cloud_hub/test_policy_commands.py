"""`cloud-hub policy`: beside a hub that runs, and without one."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert

from cloud_hub import keys
from messages import channels
from messages.bus.memory import MemoryBroker
from messages.codec import decode
from messages.offload.shapes import OffloadPolicy, Terms
from messages.shapes import Desired, DesiredState, Receipt
from messages.signing import problem
from tests.support.commands import cloud_hub
from tests.support.running_hub import hub, node


def shown(folder: Path, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cloud_hub(folder, "policy", "show", "digits", "--json", *words))
    return found


def test_a_policy_is_set_for_all_and_for_one_without_a_hub_that_runs(tmp_path: Path) -> None:
    assert "every node" in cloud_hub(tmp_path, "policy", "set", "digits", "--budget", "0.05")
    assert "node cam-1" in cloud_hub(tmp_path, "policy", "set", "digits", "--quality", "0.9", "--node", "cam-1")
    all_nodes, own = shown(tmp_path)["policy"], shown(tmp_path, "--node", "cam-1")["policy"]
    assert (all_nodes["version"], all_nodes["terms"]["budget"]) == (1, 0.05)
    assert (own["version"], own["terms"]["budget"], own["terms"]["quality"]) == (2, None, 0.9)
    cloud_hub(tmp_path, "policy", "set", "digits", "--bytes", "5000", "--per-s", "60", "--emergency", "0.5")
    cloud_hub(tmp_path, "policy", "set", "digits", "--audit", "0.02")
    terms = convert(shown(tmp_path)["policy"]["terms"], Terms)
    assert terms == Terms(budget=0.05, bytes=5000, per_s=60.0, emergency=0.5, audit=0.02)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("policy", "set", "digits"), 2, "say --budget, --quality or --bytes"),
        (("policy", "set", "digits", "--audit", "0.05"), 2, "say --budget, --quality or --bytes"),
        (("policy", "set", "digits", "--budget", "1", "--quality", "0.5"), 2, "say --budget or --quality"),
        (("policy", "set", "digits", "--budget", "1.5"), 2, "Expected `float` <= 1.0 - at `$.budget`"),
        (("policy", "set", "digits", "--budget", "1", "--node", "no/node"), 2, "--node 'no/node'"),
        (("policy", "set", "no/job", "--budget", "1"), 2, "job 'no/job'"),
        (("policy", "show", "digits"), 1, "has this hub ever run?"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in cloud_hub(tmp_path, *words, code=code)


async def test_a_hub_that_runs_notices_what_a_command_sets(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker), node(broker) as device:
        device.status(releases={"digits": "m1"}, policies={"digits": ""})
        await device.hear(channels.DOWN_RECEIPT)
        (tmp_path / "hub.toml").write_text(f'data_dir = "{tmp_path / "data"}"\n[jobs.digits]\n')
        cloud_hub(tmp_path, "policy", "set", "digits", "--budget", "0.05")
        desired = await device.hear(channels.DOWN_DESIRED, timeout_s=5.0)
        (document,) = desired.documents.values()
        assert decode(OffloadPolicy, document).terms == Terms(budget=0.05)
        public = keys.release_key(keys.place(tmp_path / "data")).signer.public
        assert problem(desired.state, desired.signatures, {public.id: public}) == ""
        assert row(tmp_path) == ("device-1", "waits", "")
        refuse(device, desired)
        await device.hear(channels.DOWN_RECEIPT)
        assert row(tmp_path) == ("device-1", "refused", "not here")
        digests = decode(DesiredState, desired.state).digests
        device.status(releases={"digits": "m1"}, policies={"digits": digests["policy/digits"]}, desired=(1, 1))
        device.sample(1.0)
        await device.hear(channels.DOWN_RECEIPT)
        assert row(tmp_path) == ("device-1", "active", "")


def refuse(device, desired: Desired) -> None:
    refusal = {"event_id": desired.event_id, "reason": "not here"}
    receipt = json.dumps({"event_id": "r", "timestamp": 1, "refused": [refusal], "credit": 64}).encode()
    assert decode(Receipt, receipt).refused
    device.send(channels.UP_RECEIPT, receipt)
    device.sample(1.0)


def row(folder: Path) -> tuple[str, str, str]:
    (found,) = shown(folder)["nodes"]
    return found["node"], found["state"], found["refusal"]
