"""A running agent takes a policy of its hub's when it fits its job, says so, and has it after a restart too."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import config
from edge_agent.agent import Agent
from messages import channels
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.codec import encode
from messages.offload.shapes import Network, Pool, Terms
from messages.settings.read import ConfigError
from messages.shapes import Desired
from tests.edge_agent.test_agent import agent_of
from tests.support.messages import SIGNER
from tests.support.scripted_hub import ScriptedHub
from tests.support.small_agent import EASY, JOB, write_agent
from tests.support.wishes import desired, digest, policy, state

OFFLOAD = JOB + 'policy = "offload"\n'
TRUST = f'[trust]\nkeys = ["{SIGNER.public}"]\n'


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent")


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def hub(broker: MemoryBroker) -> ScriptedHub:
    return ScriptedHub(MemoryBus(broker, client_id="hub", subscriptions=[channels.uplink("default")], will=None))


def wish(seq: int, document: bytes) -> Desired:
    return desired(state(seq, document, node="device-1", names=("policy/side",)), document, number=seq)


async def tell(hub: ScriptedHub, seq: int, document: bytes) -> None:
    """Let the hub want a policy, until the node's status says how that went."""
    before = len(hub.statuses)
    hub.send("device-1", channels.DOWN_DESIRED, encode(wish(seq, document)))
    await hub.until(lambda h: h.statuses[before:] and h.statuses[-1].desired == (1, seq))


def budget(agent: Agent) -> float:
    policy = agent.counters().policy
    assert policy is not None
    return dict(policy.gauges)["budget"]


async def test_a_policy_is_in_force_at_once_and_after_a_restart_without_a_hub(
    tmp_path: Path, broker, hub, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_agent(tmp_path, jobs=OFFLOAD, more=TRUST)
    document = policy(3, "side", terms=Terms(budget=0.05))
    async with hub, agent_of(file, broker) as agent:
        await hub.until(lambda h: h.statuses and h.statuses[-1].policies == {"side": ""})
        await tell(hub, 1, document)
        assert budget(agent) == 0.05
        assert hub.statuses[-1].policies == {"side": digest(document)}
        assert hub.receipted[-1:] == ["h.1"]
    broker.stop()
    caplog.clear()
    async with agent_of(file, broker) as agent:
        assert budget(agent) == 0.05
        assert "job side: policy 3 of the hub is in force" in caplog.text


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"model": "ab" * 32}, "it is for model abababababab, and this is "),
    ({"score": Network(classes=2, layers=())}, "it is for model unknown, and this is "),
    ({"model": "OURS", "score": Network(classes=3, layers=())}, "it is for 3 classes, and the model has 2"),
    ({"model": "OURS", "score": Network(classes=2, layers=())}, "layers: at least one"),
    ({"pool": Pool(shape=(8, 8), grid=(2, 2))}, "it is for samples of shape [8, 8], and this job takes float32[1]"),
    ({"terms": Terms(budget=0.1, quality=0.9)}, "quality and budget: name one of them"),
]


@pytest.mark.parametrize(("fields", "reason"), UNFIT)
async def test_a_policy_that_does_not_fit_is_refused_and_the_old_one_stays(
    tmp_path: Path, broker, hub, fields: dict[str, Any], reason: str
) -> None:
    file = write_agent(tmp_path, jobs=OFFLOAD, more=TRUST)
    first = policy(1, "side", terms=Terms(budget=0.05))
    async with hub, agent_of(file, broker) as agent:
        await agent.infer(EASY)
        await tell(hub, 1, first)
        ours = {"model": hub.statuses[-1].releases["side"]} if fields.get("model") == "OURS" else {}
        await tell(hub, 2, policy(2, "side", **fields | ours))
        assert reason in hub.statuses[-1].refusal
        assert hub.statuses[-1].policies == {"side": digest(first)}
        assert budget(agent) == 0.05


async def test_a_job_with_a_fixed_rule_says_how_to_let_the_hub_decide(tmp_path: Path, broker, hub) -> None:
    file = write_agent(tmp_path, jobs=JOB + 'policy = {use = "threshold", threshold = 0.5}\n', more=TRUST)
    async with hub, agent_of(file, broker):
        await hub.until(lambda h: h.statuses)
        await tell(hub, 1, policy(1, "side"))
        assert hub.statuses[-1].refusal == (
            "partly: policy/side: its policy is 'threshold'; use policy = \"offload\" to take one from the hub"
        )
        assert hub.statuses[-1].policies == {}


async def test_another_model_leaves_the_policy_that_was_made_for_the_old_one(
    tmp_path: Path, broker, hub, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_agent(tmp_path, jobs=OFFLOAD, more=TRUST)
    async with hub, agent_of(file, broker):
        await hub.until(lambda h: h.statuses)
        await tell(hub, 1, policy(1, "side", model=hub.statuses[-1].releases["side"]))
    write_agent(tmp_path, jobs=OFFLOAD.replace("small.npz", "other.npz"), more=TRUST)
    np.savez(tmp_path / "other.npz", w0=np.array([[-2.0, 2.0]], "float32"), b0=np.zeros(2, "float32"))
    async with agent_of(file, broker):
        assert "is not all in force: partly: policy/side: it is for model" in caplog.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[trust]\nkeys = ["ed25519:AA"]\n', "trust.keys[0] = 'ed25519:AA': a public key is written"),
        ('[trust]\nkeys_file = "nowhere"\n', "trust.keys_file: "),
        ('[trust]\nkeys_file = "hub.keys"\n', "hub.keys:3 = 'bad': a public key is written"),
        ('[trust]\nroot = ["ed25519:AA"]\n', "trust.root[0] = 'ed25519:AA': a public key is written"),
        ('[trust]\nroot_file = "nowhere"\n', "trust.root_file: "),
        (f'{TRUST}root_file = "hub.keys"\n', "root: with a root the release keys come from the hub"),
    ],
)
def test_keys_that_are_none_are_named(tmp_path: Path, more: str, said: str) -> None:
    (tmp_path / "hub.keys").write_text(f"# the hub's\n{SIGNER.public}\nbad\n")
    with pytest.raises(ConfigError) as caught:
        config.load(write_agent(tmp_path, more=more))
    assert said in str(caught.value)


def test_keys_may_stand_in_a_file_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "hub.keys").write_text(f"# the hub's\n\n{SIGNER.public}\n")
    file = write_agent(tmp_path, more='[trust]\nkeys_file = "hub.keys"\n')
    assert config.trusted(config.load(file), file) == (SIGNER.public,)
    file = write_agent(tmp_path, more='[trust]\nroot_file = "hub.keys"\n')
    assert (config.trusted(config.load(file), file), config.roots(config.load(file), file)) == ((), (SIGNER.public,))
