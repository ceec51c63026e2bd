"""The hub at run time: stored, then receipted, then answered; with slow models, full disks, lost links and restarts."""

import asyncio
import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.config import HubSettings, JobSettings
from cloud_hub.store.folder import reading
from messages import channels
from messages.bus.memory import MemoryBroker
from messages.host.folder import FolderError
from messages.shapes import Classes
from tests.support.running_hub import hub, limits, node, until


def settings(predictor: str = "big:sides", **more: Any) -> HubSettings:
    return HubSettings(jobs={"digits": JobSettings(predictor=predictor)}, limits=limits(**more))


def count(folder: Path, where: str = "1") -> int:
    with closing(reading(folder / "data")) as reader:
        return int(reader.execute(f"SELECT count(*) FROM samples WHERE {where}").fetchone()[0])


@contextmanager
def full_disk(store: sqlite3.Connection) -> Iterator[None]:
    store.execute(f"PRAGMA max_page_count = {store.execute('PRAGMA page_count').fetchone()[0]}")
    yield
    store.execute("PRAGMA max_page_count = 1000000")


async def test_a_hard_sample_is_stored_receipted_and_answered(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings()), node(broker) as device:
        device.status()
        await device.done(device.sample(5.0, "first"))
        assert count(tmp_path) == 1
        answer = await device.answer()
        assert (answer.sample_id, answer.value) == ("first", Classes(probs=(0.0, 1.0)))
        await until(lambda: count(tmp_path, "answered_at IS NOT NULL") == 1)


async def test_a_slow_model_delays_no_receipt(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings("big:slow")) as running, node(broker) as device:
        await until(lambda: not running.pool.missing)
        device.status()
        device.sample(1.0)
        begin = time.monotonic()
        for _ in range(20):
            await device.done(device.sample(1.0))
        assert time.monotonic() - begin < 1.5
        assert (await device.answer()).sample_id == "1"


async def test_samples_that_wait_are_answered_after_a_restart(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with node(broker) as device:
        async with hub(tmp_path, broker, settings("")):
            device.status()
            await device.done(device.sample(5.0, "first"))
        async with hub(tmp_path, broker, settings()):
            assert (await device.answer()).sample_id == "first"


async def test_an_answer_waits_for_a_node_that_is_away(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings()), node(broker) as device:
        device.status()
        await device.hear(channels.DOWN_RECEIPT)
        device.status("offline")
        device.sample(5.0, "first")
        await until(lambda: count(tmp_path, "answered_at IS NOT NULL") == 1)
        device.session += 1
        device.status()
        assert (await device.answer()).sample_id == "first"


async def test_the_hub_goes_on_after_its_own_link_was_cut(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings()) as running, node(broker) as device:
        device.status()
        await device.hear(channels.DOWN_RECEIPT)
        await until(lambda: not running.health.problems)
        broker.stop()
        await until(lambda: bool(running.health.broker))
        assert running.health.problems == ["broker: the broker is down"]
        broker.start()
        await until(lambda: not running.health.problems and device.connected)
        await device.done(device.sample(5.0, "first"))
        assert (await device.answer()).sample_id == "first"


async def test_one_poisonous_sample_is_answered_with_an_error_and_the_others_with_values(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings("big:Moody")) as running, node(broker) as device:
        await until(lambda: not running.pool.missing)
        device.status()
        for number, name in ((1.0, "a"), (7.0, "poison"), (9.0, "raises"), (2.0, "b")):
            device.sample(number, name)
        answers = {answer.sample_id: answer for answer in [await device.answer() for _ in range(4)]}
        assert "SIGKILL" in answers["poison"].error
        assert "too hard" in answers["raises"].error
        assert answers["a"].value == answers["b"].value == Classes(probs=(0.25, 0.75))
        assert running.health.deaths["digits"] >= 2


async def test_a_full_disk_asks_the_node_to_wait_and_then_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings("")) as running, node(broker) as device:
        device.status()
        await device.done(device.sample(1.0))
        big = "x" * 50_000
        with full_disk(running.store.connection):
            event_id = device.sample(1.0, reason=big)
            receipt = await device.hear(channels.DOWN_RECEIPT)
            assert [deferral.event_id for deferral in receipt.later] == [event_id]
            assert "full" in receipt.later[0].reason
            assert any(problem.startswith("database: ") for problem in running.health.problems)
        await device.done(device.sample(1.0, reason=big))
        await until(lambda: not running.health.database)
    assert [record.levelname for record in caplog.records if "room" in record.message] == ["ERROR"]


async def test_answers_that_found_no_room_are_kept_until_there_is_some(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings("big:slow")) as running, node(broker) as device:
        await until(lambda: not running.pool.missing)
        device.status()
        await device.done(device.sample(1.0, "first"))
        running.store.connection.execute("PRAGMA query_only = 1")
        await until(lambda: bool(running.health.database))
        running.store.connection.execute("PRAGMA query_only = 0")
        assert (await device.answer()).sample_id == "first"


async def test_nothing_is_stored_when_the_disk_falls_below_its_reserve(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings(disk_reserve=1 << 60)), node(broker) as device:
        device.status()
        device.sample(1.0)
        assert (await device.hear(channels.DOWN_RECEIPT)).later or (await device.hear(channels.DOWN_RECEIPT)).later
        assert count(tmp_path) == 0


async def test_answered_samples_go_when_they_are_old(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with node(broker) as device:
        async with hub(tmp_path, broker, settings()):
            device.status()
            device.sample(1.0)
            await device.answer()
        await asyncio.sleep(0.02)
        async with hub(tmp_path, broker, settings(age_s=0.01)):
            await until(lambda: count(tmp_path) == 0)


async def test_bad_bytes_are_quarantined_and_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker()
    caplog.set_level(logging.INFO)
    async with hub(tmp_path, broker, settings("")) as running, node(broker) as device:
        for _ in range(50):
            device.send(channels.UP_SAMPLE, b"\xc1 no message")
        device.status()
        await device.done(device.sample(1.0))
        found = running.store.connection.execute("SELECT count(*) FROM quarantine").fetchone()
        assert found == (50,)
    assert len([record for record in caplog.records if "neither a MessagePack map" in record.message]) == 1


async def test_all_that_arrived_is_acknowledged(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings("")) as running, node(broker) as device:
        device.status()
        for _ in range(200):
            device.sample(1.0)
        await until(lambda: count(tmp_path) == 200)
        await until(lambda: running.health.messages == 201)
        assert running.health.turns < 100


async def test_stopping_is_quick_and_leaves_no_worker(tmp_path: Path) -> None:
    broker = MemoryBroker()
    async with hub(tmp_path, broker, settings("big:slow")) as running, node(broker) as device:
        await until(lambda: not running.pool.missing)
        device.status()
        await device.done(device.sample(1.0))
        begin = time.monotonic()
    assert time.monotonic() - begin < 2.0
    assert not running.pool.pids


async def test_nothing_is_said_before_it_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the model has looked at the sample by then, and its answer waits for the disk too."""
    broker, disk = MemoryBroker(), threading.Event()
    async with hub(tmp_path, broker, settings()) as running, node(broker) as device:
        await until(lambda: not running.pool.missing)
        device.status()
        await device.hear(channels.DOWN_RECEIPT)
        sync = running.store.sync
        monkeypatch.setattr(running.store, "sync", lambda: disk.wait(20.0) and sync())
        sample = device.sample(5.0, "first")
        await until(lambda: count(tmp_path, "answered_at IS NOT NULL") == 1)
        with pytest.raises(TimeoutError):
            await device.hear(channels.DOWN_RECEIPT, timeout_s=0.1)
        with pytest.raises(TimeoutError):
            await device.hear(channels.DOWN_ANSWER, timeout_s=0.1)
        disk.set()
        await device.done(sample)
        assert (await device.answer()).sample_id == "first"


async def test_a_disk_that_cannot_sync_ends_the_hub_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_file: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    broker = MemoryBroker()
    with pytest.raises(FolderError, match=r"hub\.db-wal: cannot be synced: Input/output error"):
        async with hub(tmp_path, broker, settings("")), node(broker) as device:
            device.status()
            await device.hear(channels.DOWN_RECEIPT)
            monkeypatch.setattr(os, "fdatasync", broken)
            device.sample(5.0, "first")
            await until(lambda: all(task.get_name() != "hub" for task in asyncio.all_tasks()))
            with pytest.raises(TimeoutError):
                await device.hear(channels.DOWN_RECEIPT, timeout_s=0.1)
