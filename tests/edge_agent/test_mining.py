"""Mining before inference: the hub answers hard samples, and the edge model only where that does not come in time."""

import asyncio
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_agent.agent import Agent
from edge_agent.config import load
from messages import channels
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.codec import encode
from messages.settings.read import ConfigError
from messages.shapes import Answer, Classes
from tests.support.events import until
from tests.support.scripted_hub import ScriptedHub
from tests.support.small_agent import EASY, HARD, JOB, write_agent

CLOUD = Classes(probs=(0.0, 1.0))
PARTS = """
import numpy as np
from edge_agent.engines.protocol import TensorSpec
from edge_agent.policies import Decision
ran, seen = [], []
class Counted:
    input = TensorSpec("float32", (1,))
    digest = "00" * 32
    def predict(self, x):
        ran.append(float(x[0]))
        return np.array([0.75, 0.25])
def small():
    return lambda x: Decision(abs(x[0]) < 1.0, "small" if abs(x[0]) < 1.0 else "easy", 0.5)
def take(prediction):
    seen.append((prediction.origin, prediction.provisional))
"""
EDGE = Classes(probs=(0.75, 0.25))


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def hub(broker: MemoryBroker) -> ScriptedHub:
    return ScriptedHub(MemoryBus(broker, client_id="hub", subscriptions=[channels.uplink("default")], will=None))


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An engine that notes what it was asked, a policy that looks at the sample, and a sink."""
    name = f"my_parts_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    return import_module(name)


@pytest.fixture
def make(tmp_path: Path, broker: MemoryBroker, parts: ModuleType) -> Callable[..., Agent]:
    def agent(deadline_s: float = 5.0) -> Agent:
        name = parts.__name__
        job = (
            f'[jobs.side]\nengine = "{name}:Counted"\npolicy = "{name}:small"\nsink = "{name}:take"\n'
            f'order = "mining-then-inference"\ndeadline_s = {deadline_s}\n'
        )
        file = write_agent(tmp_path, jobs=job)
        down = [channels.downlink("default", "device-1")]
        return Agent(
            load(file), file,
            make_bus=lambda will: MemoryBus(broker, client_id="device-1", subscriptions=down, will=will),
        )  # fmt: skip

    return agent


async def test_a_hard_sample_is_answered_by_the_hub_and_the_edge_model_never_runs(hub, parts, make) -> None:
    async with hub, make() as agent:
        await hub.until(lambda h: h.statuses)
        answer = await agent.infer(HARD, sample_id="a")
        assert (answer.value, answer.prediction.origin, answer.provisional) == (CLOUD, "cloud", False)
        assert await answer.final() is answer.prediction
        assert (parts.ran, parts.seen) == ([], [("cloud", False)])
        (sample,) = hub.samples
        assert (sample.edge, sample.reason, sample.rank) == (Classes(probs=()), "small", 0.5)
        assert agent.counters().reasons == {"small": 1}


async def test_an_easy_sample_is_answered_by_the_edge_model(hub, parts, make) -> None:
    async with hub, make() as agent:
        answer = await agent.infer(EASY)
        assert (answer.value, answer.provisional, answer.reason) == (EDGE, False, "easy")
        assert (parts.ran, parts.seen) == ([2.0], [("edge", False)])


async def test_with_the_link_away_the_edge_model_answers_at_once_and_the_hub_later(broker, hub, parts, make) -> None:
    broker.stop()
    async with make(deadline_s=60.0) as agent:
        async with asyncio.timeout(2.0):
            answers = await agent.infer_batch([HARD] * 20)
        assert {(answer.value.probs, answer.provisional) for answer in answers} == {(EDGE.probs, True)}
        broker.start()
        async with hub:
            finals = await asyncio.gather(*(answer.final(timeout=10.0) for answer in answers))
    assert {final.value for final in finals} == {CLOUD}
    assert parts.seen == [("edge", True)] * 20 + [("cloud", False)] * 20


async def test_only_the_first_sample_waits_for_a_hub_that_is_silent_until_it_answers_again(hub, parts, make) -> None:
    hub.answers = False
    async with hub, make(deadline_s=0.5) as agent:
        await hub.until(lambda h: h.statuses)
        began = time.monotonic()
        answers = await agent.infer_batch([HARD] * 20)
        assert 0.5 <= time.monotonic() - began < 5.0
        assert {(answer.value.probs, answer.provisional) for answer in answers} == {(EDGE.probs, True)}
        await hub.until(lambda h: len(h.samples) == 20)
        hub.answer("device-1", hub.samples[0])
        assert (await answers[0].final(timeout=5.0)).value == CLOUD
        hub.answers = True
        assert (await agent.infer(HARD)).prediction.origin == "cloud"


async def test_a_failure_of_the_hub_leaves_the_edges_answer_and_it_is_final(hub, parts, make) -> None:
    hub.answers = False
    async with hub, make() as agent:
        await hub.until(lambda h: h.statuses)
        asking = asyncio.create_task(agent.infer(HARD, sample_id="a"))
        await hub.until(lambda h: h.samples)
        failure = Answer(event_id="h.0", timestamp=0, job="side", sample_id="a", value=None, error="out of memory")
        hub.send("device-1", channels.DOWN_ANSWER, encode(failure))
        answer = await asking
        assert (answer.value, answer.provisional) == (EDGE, False)
        assert await answer.final() is answer.prediction
    assert parts.seen == [("cloud", False), ("edge", False)]


async def test_on_a_full_disk_the_edge_model_answers(hub, parts, make) -> None:
    async with hub, make() as agent:
        await hub.until(lambda h: h.statuses)
        agent.store.connection.execute("PRAGMA query_only = on")
        answer = await agent.infer(HARD)
        assert (answer.value, answer.provisional) == (EDGE, False)
        assert agent.counters().unsent == 1
        agent.store.connection.execute("PRAGMA query_only = off")


async def test_an_answer_that_comes_while_the_edge_model_runs_is_the_only_one(hub, parts, make, monkeypatch) -> None:
    hub.answers = False
    async with hub, make(deadline_s=0.0) as agent:
        await hub.until(lambda h: h.statuses)
        loop = asyncio.get_running_loop()

        async def answered() -> None:
            await hub.until(lambda h: h.samples)
            hub.answer("device-1", hub.samples[0])
            await until(lambda: bool(parts.seen), within_s=10.0)

        def slow(x: object) -> Classes:
            asyncio.run_coroutine_threadsafe(answered(), loop).result(20.0)
            return EDGE

        monkeypatch.setattr(agent._jobs["side"], "_predict", slow)
        answer = await agent.infer(HARD)
    assert (answer.value, parts.seen) == (CLOUD, [("cloud", False)])


@pytest.mark.parametrize("policy", ["cloud_only", "CloudOnly", "edge_only", "random"])
async def test_rules_that_need_no_result_can_decide_first(tmp_path: Path, policy: str) -> None:
    file = write_agent(tmp_path, jobs=JOB + f'policy = "{policy}"\norder = "mining-then-inference"\n')
    async with Agent.from_config(file) as agent:
        answer = await agent.infer(np.array([2.0], "float32"))
    assert answer.value is not None
    assert answer.value != Classes(probs=())


def test_a_rule_that_needs_the_edges_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent.from_config(write_agent(tmp_path, jobs=JOB + 'order = "mining-then-inference"\n'))
    assert str(caught.value) == (
        "jobs.side.policy = 'cross_entropy': judges the edge model's result, which is not there in"
        " 'mining-then-inference'; use random, cloud_only, edge_only or \"module:name\""
    )
    with pytest.raises(ConfigError, match="jobs.side.deadline_s: expected float >= 0.0"):
        Agent.from_config(write_agent(tmp_path, jobs=JOB + "deadline_s = -1.0\n"))
