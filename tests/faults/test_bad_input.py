"""Bad input on real processes and a real broker: it is logged, counted and kept, and everybody else lives on.

`device-1` is an agent whose samples flow all the while. `device-2` is an account in a stranger's hands, and in the
second story the hub's own account is.
"""

import asyncio
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import msgspec

from cloud_hub.ingest.complaints import MOST
from messages.codec import encode
from messages.shapes import NodeStatus
from scripts.demos.digits.audit import audit
from tests.support.bad_payloads import (
    DENIED,
    DOWN,
    DOWNWARD,
    HARD,
    HUGE,
    LATER,
    NOISE,
    REFUSED,
    UNREADABLE,
    altered,
    answer,
    array,
    hard,
    up,
)
from tests.support.brokers import mosquitto
from tests.support.fleet import Fleet
from tests.support.ports import free_port
from tests.support.running_hub import until
from tests.support.stranger import Stranger, stranger

SAMPLES = 300
KEPT = 100
"""Rows of the hub's quarantine in these stories."""
AGENT_KEPT = 1000
"""Rows of an agent's."""
RETAINED = "a retained message on a channel that is never retained"


class World:
    """A hub and an agent that run, and what a test asks of them."""

    def __init__(self, fleet: Fleet, http: int) -> None:
        self.fleet = fleet
        self.broker = fleet.broker
        self._http = http
        self._good = 0

    def quarantined(self, name: str) -> list[tuple[str, str]]:
        """Topics and reasons in a process's quarantine, oldest first."""
        return self.ask(name, "SELECT topic, reason FROM quarantine ORDER BY id")

    def counted(self, name: str) -> int:
        """How many bad messages a process's ledger has."""
        ((number,),) = self.ask(name, "SELECT coalesce(sum(number), 0) FROM ledger WHERE outcome = 'quarantined'")
        return int(number)

    async def metric(self, name: str) -> float:
        """A number without labels of the hub's /metrics."""
        url = f"http://127.0.0.1:{self._http}/metrics"
        text = (await asyncio.to_thread(urllib.request.urlopen, url)).read().decode()
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])

    async def good(self, client: Stranger) -> None:
        """A good sample is stored and answered, whatever came before it."""
        self._good += 1
        event_id = f"s.{self._good}"
        await client.throw(up("up/sample"), encode(hard(event_id, array(1000.0 + self._good))))
        assert await client.verdict(event_id) == "done"
        assert (await client.answer()).sample_id == f"sample {event_id}"

    async def finals(self, least: int) -> None:
        """Wait until so many of the agent's samples have their final answer."""
        await until(lambda: sum(not p["provisional"] for p in self.fleet.predictions("device-1")) >= least)

    async def close(self) -> None:
        """Both processes are the ones that were started, stop in order, never had a bug, and the books close."""
        await self.finals(SAMPLES)
        await until(lambda: audit(self.fleet.folder)["waiting"] == 0)
        for name in ("hub", "device-1"):
            assert self.fleet.process(name).returncode is None
            assert "Traceback" not in self.fleet.log(name)
        assert await self.fleet.stop() == {"hub": 0, "device-1": 0}
        books = audit(self.fleet.folder)
        assert books | {"samples": 0, "answers": 0} == dict.fromkeys(books, 0)
        assert books["samples"] == SAMPLES

    def ask(self, name: str, sql: str) -> list[Any]:
        """What a process's database says."""
        file = self.fleet.folder / name / "data" / ("hub.db" if name == "hub" else "agent.db")
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return database.execute(sql).fetchall()


@asynccontextmanager
async def world(folder: Path, *, interval_s: float) -> AsyncIterator[World]:
    """A hub and an agent on a broker that has kept retained messages of last year for both."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(folder, nodes=["device-1", "device-2"]))
        fleet, http = Fleet(folder, broker, ["device-1"]), free_port()
        await fleet.set_up(stack, count=SAMPLES, interval_s=interval_s, disks=False)
        fleet.environment["hub"] = {
            "SKERRY_HTTP__PORT": str(http), "SKERRY_LIMITS__QUARANTINE_ROWS": str(KEPT),
            "SKERRY_JOBS__SIDE__INPUT__DTYPE": "float32", "SKERRY_JOBS__SIDE__INPUT__SHAPE": "[1]",
        }  # fmt: skip
        for account, topic in (("device-2", up("up/sample")), ("hub", up("down/answer", "device-1"))):
            async with stranger(broker, account) as client:
                assert not await client.throw(topic, encode(hard("y.1", array(0.0))), retain=True)
        for name in ("hub", "device-1"):
            await fleet.start(name)
        running = World(fleet, http)
        await running.finals(1)
        yield running


async def test_nothing_that_a_node_sends_stops_the_hub(tmp_path: Path) -> None:
    async with world(tmp_path, interval_s=0.01) as w:
        await until(lambda: w.quarantined("hub") == [(up("up/sample"), RETAINED)])
        async with stranger(w.broker, "device-2") as client:
            status = NodeStatus(event_id="st", timestamp=1, state="online", session=1)
            await client.throw(up("up/status"), encode(status), retain=True)
            await w.good(client)
            for path, payload, reason in UNREADABLE + REFUSED:
                await bad(w, client, path, payload, reason)
            for path, payload, reason in LATER:
                await client.throw(up(path), payload)
                assert (await client.verdict(id_of(payload))).startswith(reason)
            for topic in DENIED:
                assert await client.throw(topic, encode(HARD)) == "Not authorized"
            await claim_to_be_another(w, client)
            assert await w.metric("hub_quarantined_total") == w.counted("hub") == 1 + len(UNREADABLE + REFUSED)
            await flood_the_hub(w, client)
            client.paho.publish(up("up/sample"), HUGE, 1)
            await client.cut()
        async with stranger(w.broker, "device-2") as client:
            await w.good(client)
        assert "no connection" not in w.fleet.log("hub") + w.fleet.log("device-1")
        await w.close()


async def bad(w: World, client: Stranger, path: str, payload: bytes, reason: str) -> None:
    """One bad payload is counted, kept and named in the log; its sender hears of it where it has an id."""
    before = w.counted("hub")
    assert not await client.throw(up(path), payload)
    await until(lambda: w.counted("hub") > before)
    topic, kept = w.quarantined("hub")[-1]
    assert (topic, reason in kept) == (up(path), True), kept
    await until(lambda: f"{topic}: {kept}" in w.fleet.log("hub"))
    if kept.startswith("refused: "):
        assert reason in await client.verdict(id_of(payload))
    await w.good(client)


async def claim_to_be_another(w: World, client: Stranger) -> None:
    """Who sent a message is what the topic says, and the topic is the broker's to guard."""
    await client.throw(up("up/sample"), altered(hard("z.1", array(7.0)), node="device-1", peer="device-1"))
    assert await client.verdict("z.1") == "done"
    assert w.ask("hub", "SELECT node FROM samples WHERE sample_id = 'sample z.1'") == [("device-2",)]
    await client.answer()


async def flood_the_hub(w: World, client: Stranger) -> None:
    """Each one is counted and another sort; what is kept, and what the log says, has an end."""
    before = w.counted("hub")
    for number in range(3 * KEPT):
        await client.throw(up("up/sample"), encode(hard(f"x{number}", array(1.0))))
    await w.good(client)
    assert w.counted("hub") == before + 3 * KEPT
    assert len(w.quarantined("hub")) == KEPT
    assert w.fleet.log("hub").count("skerry/v1/") == MOST
    assert "the others are only counted" in w.fleet.log("hub")


async def test_nothing_that_comes_from_the_hubs_account_stops_an_agent(tmp_path: Path) -> None:
    async with world(tmp_path, interval_s=0.03) as w:
        async with hub_account(w) as client:
            await client.throw(DOWN + "answer", NOISE)
            await until(lambda: len(w.quarantined("device-1")) == 2)  # all that the hub had sent came before
            cases = DOWNWARD + used_ids(w)
            for path, payload, _ in cases:
                assert not await client.throw(DOWN + path, payload)
            assert await client.throw("default/skerry/v9/device-1/down/answer", NOISE) == "Not authorized"
            await until(lambda: w.counted("device-1") == 2 + len(cases))
            reasons = [("answer", RETAINED), ("answer", "first byte 0xff"), *((path, why) for path, _, why in cases)]
            for (path, reason), (topic, kept) in zip(reasons, w.quarantined("device-1"), strict=True):
                assert (topic, reason in kept) == (f"down/{path}", True), kept
                await until(partial(said, w, f"unusable on '{topic}', in quarantine: {kept[:200]}"))
        await w.finals(sum(p["provisional"] for p in w.fleet.predictions("device-1")))
        async with hub_account(w) as client:
            for _ in range(AGENT_KEPT + 100):
                client.paho.publish(DOWN + "answer", NOISE, 1)
            await until(lambda: w.counted("device-1") == 2 + len(cases) + AGENT_KEPT + 100)
            assert len(w.quarantined("device-1")) == AGENT_KEPT
            client.paho.publish(DOWN + "answer", HUGE, 1)
            await client.cut()
        assert not said(w, "no connection")
        await w.close()


@asynccontextmanager
async def hub_account(w: World) -> AsyncIterator[Stranger]:
    """A stranger with the hub's own password, while the hub sleeps: else the two would cut each other."""
    hub = w.fleet.process("hub")
    hub.send_signal(SIGSTOP)
    try:
        async with stranger(w.broker, "hub") as client:
            yield client
    finally:
        hub.send_signal(SIGCONT)


def used_ids(w: World) -> list[tuple[str, bytes, str]]:
    """Answers with an id that the agent has seen, and with one that no hub can have come to."""
    ((stream, low, seen),) = w.ask("device-1", "SELECT stream, low, seen FROM inbox")
    last = max(msgspec.msgpack.decode(seen, type=dict[int, bytes]))
    return [
        ("answer", encode(answer(f"{stream}.{last}", low=low)), "refused: id was used before with other content"),
        ("answer", encode(answer(f"{stream}.{last + 9999}", low=low)), "refused: id lies too far above"),
    ]


def said(w: World, line: str) -> bool:
    """Whether the agent's log has a line."""
    return line in w.fleet.log("device-1")


def id_of(payload: bytes) -> str:
    return str(msgspec.msgpack.decode(payload)["event_id"])
