"""Other programs hand in samples and hear predictions, over the device's own broker or over the hub's."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from cloud_hub.broker.settings import AppAccess
from edge_agent.agent import Agent
from messages import channels
from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Disconnected, PublishDenied
from messages.bus.settings import MqttSettings
from messages.codec import encode
from messages.shapes import Reading
from messages.tensors import pack
from tests.edge_agent.test_on_mosquitto import hub_on
from tests.support.apps import ROOT, App, app
from tests.support.brokers import RunningBroker, mosquitto
from tests.support.events import first, until
from tests.support.scripted_hub import ScriptedHub
from tests.support.small_agent import JOB, write_agent

RETRY = "retry_first_s = 0.05\nretry_last_s = 0.2\n"


@dataclass
class Place:
    """A hub, an agent and an app; `local` is the broker over which the app speaks."""

    hub: ScriptedHub
    agent: Agent
    app: App
    local: RunningBroker


@asynccontextmanager
async def place(folder: Path, *, shared: bool, credit: int = 64, more: str = "") -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        (folder / "camera.password").write_text("secret of the camera\n")
        access = AppAccess(node="device-1", jobs=("side",), password_file=str(folder / "camera.password"))
        apps = dict.fromkeys(("camera", "ear", "mouth"), access)
        broker = await stack.enter_async_context(mosquitto(folder, nodes=["device-1"], apps=apps))
        local, here = broker, app_access(broker, folder)
        if not shared:
            (folder / "own").mkdir()
            local = await stack.enter_async_context(mosquitto(folder / "own"))
            here = local.client("")
        url = "hub" if shared else local.url
        hub = await stack.enter_async_context(hub_on(broker))
        mqtt = f'url = "{broker.url}"\nusername = "device-1"\npassword_file = "{broker.passwords["device-1"]}"\n{RETRY}'
        file = write_agent(
            folder / "a", mqtt=mqtt, more=more, jobs=f'[apps]\nbroker = "{url}"\ncredit = {credit}\n{JOB}'
        )
        agent = await stack.enter_async_context(Agent.from_config(file))
        program = await stack.enter_async_context(app(here))
        await until(lambda: agent.connected, within_s=10)
        yield Place(hub, agent, program, local)


def app_access(broker: RunningBroker, folder: Path) -> MqttSettings:
    return MqttSettings(url=broker.url, username="app@camera", password_file=str(folder / "camera.password"))


@pytest.fixture(params=[False, True], ids=["own broker", "the hub's broker"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path, shared=request.param) as found:
        yield found


async def answered(here: Place, sample_id: str, number: int) -> list[dict[str, Any]]:
    await until(lambda: len(here.app.of(sample_id)) >= number, within_s=10)
    return here.app.of(sample_id)


async def test_an_easy_reading_gets_one_final_prediction(here: Place) -> None:
    here.app.hand_in({"event_id": "e", "x": [2.0]})
    (found,) = await answered(here, "e", 1)
    assert (found["provisional"], found["origin"], found["reason"]) == (False, "edge", "easy")
    assert found["value"]["type"] == "classes"
    assert here.hub.samples == []


async def test_a_hard_reading_gets_the_hubs_prediction_too(here: Place) -> None:
    tensor = encode(Reading(event_id="h", sample_id="name", x=pack(np.array([0.05], "float32"))))
    here.app.hand_in(tensor)
    first, second = await answered(here, "name", 2)
    assert (first["provisional"], first["origin"]) == (True, "edge")
    assert (second["provisional"], second["origin"], second["value"]["probs"]) == (False, "cloud", [0.0, 1.0])
    assert [sample.sample_id for sample in here.hub.samples] == ["name"]


async def test_the_same_id_is_answered_again_and_counted_once(here: Place) -> None:
    for _ in range(2):
        here.app.hand_in({"event_id": "h", "x": [0.05]})
    await answered(here, "h", 3)
    here.app.hand_in({"event_id": "e", "x": [2.0]})
    here.app.hand_in({"event_id": "e", "x": [2.0]})
    await answered(here, "e", 2)
    counters = here.agent.counters()
    assert (counters.all, counters.hard, counters.refused) == (2, 1, 0)


BAD: dict[str, tuple[dict[str, object], str]] = {
    "words": ({"x": ["0.05"]}, "x[0] is '0.05': not a number"),
    "ragged": ({"x": [[1], [1, 2]]}, "inhomogeneous"),
    "shape": ({"x": [1, 2]}, "takes float32[1], got float32[2]"),
    "too large": ({"x": [1e39]}, "float32 cannot hold"),
    "no x": ({}, "missing required field `x`"),
    "other job": ({"x": [1], "job": "digits"}, "job is 'digits', the topic says 'side'"),
}


async def test_what_cannot_be_used_is_answered_counted_and_kept(here: Place) -> None:
    for name, (fields, _) in BAD.items():
        here.app.hand_in({"event_id": name, **fields})
    here.app.hand_in(b"\x00 no message at all")
    here.app.hand_in({"event_id": "good", "x": [2.0]})
    await answered(here, "good", 1)
    for name, (_, said) in BAD.items():
        (found,) = here.app.of(name)
        assert (found["value"], found["provisional"]) == (None, False)
        assert found["reason"].startswith("refused: ")
        assert said in found["reason"]
    assert here.agent.counters().refused == len(BAD) + 1
    topics = {topic for (topic,) in here.agent.store.connection.execute("SELECT topic FROM quarantine")}
    assert topics == {f"{ROOT}/in/side"}


async def test_other_content_under_a_used_id_is_refused(here: Place) -> None:
    here.app.hand_in({"event_id": "h", "x": [0.05]})
    await answered(here, "h", 2)
    here.app.hand_in({"event_id": "h", "x": [0.06]})
    *_, found = await answered(here, "h", 3)
    assert "used before, with other content" in found["reason"]
    assert len(here.hub.samples) == 1


async def test_a_reading_that_was_retained_long_ago_is_never_judged(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as broker, app(broker.client("")) as program:
        program.hand_in({"event_id": "old", "x": [2.0]}, retain=True)
        file = write_agent(tmp_path / "a", jobs=f'[apps]\nbroker = "{broker.url}"\n{JOB}')
        async with Agent.from_config(file) as agent:
            sql = "SELECT reason FROM quarantine"
            await until(lambda: agent.store.connection.execute(sql).fetchall() != [], within_s=10)
            program.hand_in({"event_id": "new", "x": [2.0]})
            await until(lambda: len(program.heard) == 1, within_s=10)
            assert agent.store.connection.execute(sql).fetchall() == [("a retained reading: never retain them",)]
    assert program.of("old") == []


async def test_a_final_waits_for_the_apps_broker(tmp_path: Path) -> None:
    async with place(tmp_path, shared=False) as here:
        here.hub.answers = False
        here.app.hand_in({"event_id": "h", "x": [0.05]})
        await answered(here, "h", 1)
        here.local.kill()
        await here.hub.until(lambda hub: hub.samples)
        here.hub.answer("device-1", here.hub.samples[0])
        await here.hub.until(lambda hub: hub.deferred)
        assert here.hub.receipted == []
        await here.local.start()
        await until(lambda: here.app.connections == 2, within_s=10)
        await until(lambda: _told(here), within_s=20, every_s=0.3)
        await here.hub.until(lambda hub: hub.receipted)
    assert [found["provisional"] for found in here.app.of("h")][-1] is False


def _told(here: Place) -> bool:
    """Offer the answer until the app has it, as a hub does."""
    here.hub.answer("device-1", here.hub.samples[0])
    return len(here.app.of("h")) >= 2


async def test_a_flood_is_held_back_on_the_own_broker(tmp_path: Path) -> None:
    async with place(tmp_path, shared=False, credit=4) as here:
        for number in range(200):
            here.app.hand_in({"event_id": f"e{number}", "x": [2.0]})
        await until(lambda: len(here.app.heard) == 200, within_s=20)
        assert here.agent.counters().refused == 0


async def test_a_flood_over_the_hubs_broker_is_refused_and_delays_no_receipt(tmp_path: Path) -> None:
    async with place(tmp_path, shared=True, credit=4) as here:
        for number in range(200):
            here.app.hand_in({"event_id": f"e{number}", "x": [2.0]})
        await until(lambda: len({found["sample_id"] for found in here.app.heard}) == 200, within_s=20)
        refused = [found for found in here.app.heard if found["value"] is None]
        assert here.agent.counters().refused == len(refused) > 0
        assert {found["reason"] for found in refused} == {"refused: 4 readings wait already: hand in fewer at once"}


@asynccontextmanager
async def camera(folder: Path, user: str) -> AsyncIterator[MqttBus]:
    """A client that comes in with the camera's password, on a broker that knows the camera."""
    (folder / "camera.password").write_text("secret of the camera\n")
    apps = {"camera": AppAccess(node="device-1", jobs=("side",), password_file=str(folder / "camera.password"))}
    async with mosquitto(folder, nodes=["device-1"], apps=apps) as broker:
        access = MqttSettings(url=broker.url, username=user, password_file=str(folder / "camera.password"))
        async with MqttBus(access, client_id="x", subscriptions=[], will=None, random=Random(0)) as bus:
            yield bus


async def test_an_app_may_hand_in_for_its_own_jobs_only(tmp_path: Path) -> None:
    async with camera(tmp_path, "app@camera") as bus:
        await first(bus, Connected)
        await bus.publish(f"{ROOT}/in/side", b"x")
        for path in ("in/other", "out/side", "up/sample", "up/status", "down/answer"):
            with pytest.raises(PublishDenied):
                await bus.publish(f"{ROOT}/{path}", b"x")


async def test_who_is_not_named_cannot_come_in(tmp_path: Path) -> None:
    async with camera(tmp_path, "app@other") as bus:
        assert (await first(bus, Disconnected)).refused


def test_the_in_channel_is_where_it_is_documented() -> None:
    assert channels.IN.topic("default", "device-1", "side") == f"{ROOT}/in/side"
