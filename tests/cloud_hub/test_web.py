"""What the hub says over HTTP: whether it is well, and its numbers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cloud_hub.config import HttpSettings
from cloud_hub.health import Health
from cloud_hub.store.folder import opened
from cloud_hub.web.families import Family, render
from cloud_hub.web.server import WebError, serving
from messages.bus.memory import MemoryBroker
from tests.support.ports import free_port
from tests.support.running_hub import hub, limits, node


@asynccontextmanager
async def client(settings: HttpSettings, health: Health, folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    with opened(folder, quarantine_rows=1, dead_rows=1):
        async with (
            serving(settings, health, folder),
            aiohttp.ClientSession(f"http://127.0.0.1:{settings.port}") as session,
        ):
            yield session


async def test_a_hub_that_is_well_says_so_and_one_that_is_not_says_what_is_wrong(tmp_path: Path) -> None:
    health = Health(broker="")
    async with client(HttpSettings(port=free_port()), health, tmp_path) as session:
        async with session.get("/healthz") as response:
            assert response.status == 200
            assert (await response.json())["ok"]
        health.broker, health.database, health.missing = "the link was cut", "disk full", {"digits": 2}
        async with session.get("/healthz") as response:
            assert response.status == 503
            problems = (await response.json())["problems"]
            assert problems == [
                "database: disk full", "broker: the link was cut", "job digits: 2 workers are not ready",
            ]  # fmt: skip


async def test_numbers_of_a_hub_that_works(tmp_path: Path) -> None:
    from cloud_hub.config import HubSettings, JobSettings

    broker, port = MemoryBroker(), free_port()
    settings = HubSettings(jobs={"digits": JobSettings(predictor="big:sides")}, limits=limits())
    async with hub(tmp_path, broker, settings) as running, node(broker) as device:
        device.status()
        device.sample(1.0)
        await device.answer()
        async with (
            serving(HttpSettings(port=port), running.health, tmp_path / "data"),
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        ):
            text = await numbers(session, 'hub_answers_total{job="digits",outcome="done"} 1')
    for line in (
        'hub_samples_total{job="digits",outcome="stored"} 1', 'hub_nodes{state="online"} 1',
        "hub_mqtt_connected 1", "hub_outbox_messages 0", "hub_quarantined_total 0", "# TYPE hub_samples_total counter",
    ):  # fmt: skip
        assert line in text.splitlines()


async def numbers(session: aiohttp.ClientSession, line: str) -> str:
    """The page, as soon as it has a line."""
    seen: list[str] = []

    async def has() -> bool:
        async with session.get("/metrics") as response:
            seen.append(await response.text())
        return line in seen[-1].splitlines()

    for _ in range(200):
        if await has():
            return seen[-1]
    raise AssertionError(seen[-1])


async def test_only_with_the_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    settings = HttpSettings(port=free_port(), token_file=str(token))
    async with client(settings, Health(), tmp_path) as session:
        for headers, status in (({}, 401), ({"Authorization": "Bearer other"}, 401)):
            async with session.get("/metrics", headers=headers) as response:
                assert response.status == status
        async with session.get("/metrics", headers={"Authorization": "Bearer secret"}) as response:
            assert response.status == 200


async def test_a_busy_port_and_an_empty_token_are_named(tmp_path: Path) -> None:
    port = free_port()
    async with serving(HttpSettings(port=port), Health(), tmp_path):
        with pytest.raises(WebError, match=f"127.0.0.1:{port}"):
            async with serving(HttpSettings(port=port), Health(), tmp_path):
                pass
    (tmp_path / "token").write_text("")
    with pytest.raises(WebError, match="token is empty"):
        async with serving(HttpSettings(port=port, token_file=str(tmp_path / "token")), Health(), tmp_path):
            pass


async def test_port_0_serves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    async with serving(HttpSettings(port=0), Health(), folder), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://127.0.0.1:0/healthz")


@pytest.mark.parametrize(("text", "line"), [('a"b', r'x{job="a\"b"} 1'), ("a\\b\n", r'x{job="a\\b\n"} 1')])
def test_labels_are_escaped(text: str, line: str) -> None:
    labels: Any = (("job", text),)
    assert render([Family("x", "gauge", "Text.", {labels: 1})]).splitlines()[-1] == line
