"""What every bus must do: the same suite in memory, on mosquitto with both protocols, and on amqtt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from messages.bus.mqtt import MqttBus
from messages.bus.mqtt_connection import Connection
from messages.bus.protocol import (
    Connected,
    Denied,
    Disconnected,
    Incoming,
    NotConnected,
    PublishDenied,
    Will,
)
from messages.channels import DOWN_ANSWER, HUB, UP_SAMPLE, UP_STATUS, downlink, uplink
from tests.support.events import collected, first, take
from tests.support.worlds import BROKERS, NODE, MemoryWorld, MqttWorld, World, mqtt_world

TOPIC = UP_SAMPLE.topic("default", NODE)
STATUS = UP_STATUS.topic("default", NODE)
ALL = uplink("default")


@pytest.fixture(params=["memory", *BROKERS])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    async with mqtt_world(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=list(BROKERS))
async def mqtt(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MqttWorld]:
    """Without accounts: everybody may do everything."""
    async with mqtt_world(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=list(BROKERS))
async def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MqttWorld]:
    """With accounts, each with its own topics."""
    async with mqtt_world(request.param, tmp_path, nodes=[NODE, "cam-2"]) as made:
        yield made


async def test_what_is_sent_arrives_as_it_was_sent(world: World) -> None:
    async with world.bus(HUB, ALL) as hub, world.bus(NODE) as node:
        await first(hub, Connected)
        await first(node, Connected)
        await node.publish(TOPIC, b"\x00\xff published")
        node.post(TOPIC, b"")
        message = await first(hub, Incoming)
        assert (message.topic, message.payload, message.retained) == (TOPIC, b"\x00\xff published", False)
        hub.ack(message)
        assert await take(hub) == (TOPIC, b"")


async def test_a_late_subscriber_is_offered_what_is_retained_until_it_is_cleared(world: World) -> None:
    async with world.bus(NODE) as node:
        await first(node, Connected)
        await node.publish(STATUS, b"here", retain=True)
        async with world.bus(HUB, ALL) as hub:
            message = await first(hub, Incoming)
            assert (message.topic, message.payload, message.retained) == (STATUS, b"here", True)
        await node.publish(STATUS, b"", retain=True)
        async with world.bus(HUB, ALL) as hub:
            await first(hub, Connected)
            await node.publish(TOPIC, b"marker")
            assert await take(hub) == (TOPIC, b"marker")


async def test_a_cut_link_publishes_the_will_of_that_connection(world: World) -> None:
    wills = (Will(STATUS, f"gone {count}".encode(), retain=False) for count in range(100))
    async with world.bus(HUB, ALL) as hub, world.bus(NODE, will=lambda: next(wills)) as node:
        await first(hub, Connected)
        for _ in range(2):
            await first(node, Connected)
            world.drop(NODE)
            await first(node, Disconnected)
        before, after = await take(hub), await take(hub)
        assert before == (STATUS, b"gone 0")
        assert after[1] > before[1]


async def test_an_orderly_end_sends_what_was_posted_and_no_will(world: World) -> None:
    async with world.bus(HUB, ALL) as hub:
        await first(hub, Connected)
        async with world.bus(NODE, will=lambda: Will(STATUS, b"gone", retain=False)) as node:
            await first(node, Connected)
            for number in range(50):
                node.post(TOPIC, b"%d" % number)
        assert sorted([await take(hub) for _ in range(50)]) == sorted((TOPIC, b"%d" % number) for number in range(50))
        async with world.bus(NODE) as node:
            await first(node, Connected)
            node.post(TOPIC, b"marker")
            assert await take(hub) == (TOPIC, b"marker")


async def test_it_comes_back_by_itself_when_the_broker_does(world: World) -> None:
    async with world.bus(HUB, ALL) as hub, world.bus(NODE) as node:
        await first(hub, Connected)
        await first(node, Connected)
        world.go_down()
        assert (await first(node, Disconnected)).retry_s > 0.0
        await first(hub, Disconnected)
        with pytest.raises(NotConnected, match=TOPIC):
            node.post(TOPIC, b"into the void")
        with pytest.raises(NotConnected, match=TOPIC):
            await node.publish(TOPIC, b"into the void")
        await world.come_back()
        await first(hub, Connected)
        await first(node, Connected)
        await node.publish(TOPIC, b"back")
        assert await take(hub) == (TOPIC, b"back")


async def test_an_acknowledgement_of_an_older_connection_does_nothing(world: World) -> None:
    async with world.bus(HUB, ALL) as hub, world.bus(NODE) as node:
        await first(hub, Connected)
        await first(node, Connected)
        await node.publish(TOPIC, b"before")
        old = await first(hub, Incoming)
        world.drop(HUB)
        hub.ack(old)
        await first(hub, Connected)
        hub.ack(old)
        await node.publish(TOPIC, b"after")
        new = await first(hub, Incoming)
        assert new.payload == b"after"
        hub.ack(old)
        hub.ack(new)
        hub.ack(new)
        await node.publish(TOPIC, b"last")
        assert await take(hub) == (TOPIC, b"last")


async def test_no_more_comes_than_may_be_unacknowledged(mqtt: MqttWorld) -> None:
    async with mqtt.bus(HUB, ALL, receive_maximum=10) as hub, mqtt.bus(NODE) as node:
        await first(hub, Connected)
        await first(node, Connected)
        async with asyncio.TaskGroup() as sending:
            for number in range(100):
                sending.create_task(node.publish(TOPIC, b"%d" % number), name="send")
        held = await collected(hub, quiet_s=0.3)
        assert 10 <= len(held) <= 11
        payloads = {message.payload for message in held}
        for message in held:
            hub.ack(message)
            waiting = await collected(hub, quiet_s=0.02)
            assert len(waiting) <= 11
            payloads |= {late.payload for late in waiting}
            for late in waiting:
                hub.ack(late)
        while len(payloads) < 100:
            payloads.add((await take(hub))[1])
        assert payloads == {b"%d" % number for number in range(100)}


async def test_a_link_that_died_silently_is_found_by_keepalive(mqtt: MqttWorld) -> None:
    async with mqtt.bus(NODE, keepalive_s=1) as node:
        await first(node, Connected)
        mqtt.links[NODE].freeze()
        waiting = asyncio.create_task(node.publish(TOPIC, b"lost on the way"), name="publish into a dead link")
        assert mqtt.links[NODE].port == int((await first(node, Disconnected)).reason.split(":")[1].split()[0])
        with pytest.raises(NotConnected, match="before the broker confirmed"):
            await waiting
        mqtt.links[NODE].cut()
        mqtt.links[NODE].thaw()
        await first(node, Connected)
        await node.publish(TOPIC, b"again")


async def test_packets_may_come_in_single_bytes(mqtt: MqttWorld) -> None:
    for link in mqtt.links.values():
        link.up.piece = link.down.piece = 1
    async with mqtt.bus(HUB, ALL) as hub, mqtt.bus(NODE) as node:
        await first(hub, Connected)
        await first(node, Connected)
        await node.publish(TOPIC, bytes(range(256)))
        node.post(TOPIC, b"second")
        assert [await take(hub), await take(hub)] == [(TOPIC, bytes(range(256))), (TOPIC, b"second")]


async def test_a_denied_publish_is_told_where_the_protocol_can(guarded: MqttWorld) -> None:
    other = UP_SAMPLE.topic("default", "cam-2")
    async with guarded.bus(HUB, ALL) as hub, guarded.bus(NODE) as node:
        await first(hub, Connected)
        await first(node, Connected)
        if guarded.protocol == "5":
            with pytest.raises(PublishDenied, match=f"{other}: Not authorized"):
                await node.publish(other, b"not mine")
            node.post(other, b"not mine")
            assert await first(node, Denied) == Denied(other, "Not authorized")
        else:
            await node.publish(other, b"not mine")
        await node.publish(TOPIC, b"mine")
        assert await take(hub) == (TOPIC, b"mine")


async def test_a_denied_subscription_is_told_before_the_connection_is_up(tmp_path: Path) -> None:
    others = downlink("default", "cam-2")
    async with (
        mqtt_world("amqtt", tmp_path, nodes=[NODE, "cam-2"]) as world,
        world.bus(NODE, downlink("default", NODE), others) as node,
    ):
        denied = await first(node, Denied)
        assert denied.topic == others
        assert denied.reason.startswith("subscription: ")
        await first(node, Connected)


async def test_what_is_for_another_node_never_comes(guarded: MqttWorld) -> None:
    """mosquitto grants every subscription and delivers nothing that its rules forbid."""
    own = DOWN_ANSWER.topic("default", NODE)
    async with guarded.bus(HUB) as hub, guarded.bus(NODE, downlink("default", NODE), "#") as node:
        await first(hub, Connected)
        await first(node, Connected)
        await hub.publish(DOWN_ANSWER.topic("default", "cam-2"), b"for another")
        await hub.publish(own, b"for this one")
        assert await take(node) == (own, b"for this one")


async def test_a_wrong_password_names_the_user_and_the_broker(guarded: MqttWorld, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guessed")
    async with guarded.bus(NODE, password_file=str(wrong)) as node:
        refused = await first(node, Disconnected)
        assert refused.refused
        assert refused.reason.startswith(f"{NODE}@127.0.0.1:{guarded.links[NODE].port}: ")


@pytest.mark.parametrize("kind", ["mosquitto, MQTT 5", "mosquitto, MQTT 3.1.1"])  # amqtt lets both stay
async def test_two_clients_with_the_same_id_are_told_so_and_wait_longer_each_time(tmp_path: Path, kind: str) -> None:
    async with mqtt_world(kind, tmp_path) as mqtt, asyncio.timeout(20), AsyncExitStack() as stack:
        buses = [mqtt.bus(NODE, retry_first_s=0.1, retry_last_s=5.0) for _ in range(2)]
        one, two = [await stack.enter_async_context(bus) for bus in buses]
        for told in await asyncio.gather(waits(one, 4), waits(two, 4)):
            hint = f"again and again soon after the login: does another client use the id {NODE!r}?"
            assert [hint in reason for reason, _ in told] == [False, False, True, True]
            assert (told[0][1] <= 0.1, told[3][1] >= 0.4) == (True, True)


async def waits(bus: MqttBus, number: int) -> list[tuple[str, float]]:
    """Why a bus lost its first connections, and how long it waited then."""
    lost = [await first(bus, Disconnected) for _ in range(number)]
    return [(event.reason, event.retry_s) for event in lost]


@pytest.mark.parametrize("right", [True, False])
async def test_a_bus_that_is_closed_just_when_the_broker_answers_is_closed(
    guarded: MqttWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    answer, closing = Connection._on_connect, asyncio.Queue[asyncio.Task[None]]()

    def answered(connection: Connection, *given: Any) -> None:
        answer(connection, *given)
        closing.put_nowait(asyncio.create_task(bus.__aexit__(None, None, None)))

    monkeypatch.setattr(Connection, "_on_connect", answered)
    wrong = tmp_path / "wrong"
    wrong.write_text("guessed")
    bus = guarded.bus(NODE, password_file=guarded.broker.passwords[NODE] if right else str(wrong))
    async with asyncio.timeout(5):
        await bus.__aenter__()
        await (await closing.get())


async def test_too_large_a_payload_is_denied_and_the_link_lives(tmp_path: Path) -> None:
    async with mqtt_world("mosquitto, MQTT 5", tmp_path, max_packet_bytes=2000) as world, world.bus(NODE) as node:
        await first(node, Connected)
        with pytest.raises(PublishDenied, match=f"{TOPIC}: 3000 bytes, and the broker takes packets of 2000"):
            await node.publish(TOPIC, bytes(3000))
        node.post(TOPIC, bytes(3000))
        assert (await first(node, Denied)).topic == TOPIC
        await node.publish(TOPIC, bytes(1000))
