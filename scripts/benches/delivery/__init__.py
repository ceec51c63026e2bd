"""What durable delivery costs: the hub's ingest beside a bare subscriber that stores nothing, on the same broker."""

import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from cloud_hub.broker.child import mosquitto_program
from cloud_hub.broker.files import write_broker_files
from cloud_hub.broker.settings import BrokerSettings
from scripts.benches import Part, Row

SECONDS = 20.0
"""Of each measurement; ours and the baseline take turns, `TURNS` times, so that each is measured for a minute."""

TURNS = 3


def ingest_small(seed: int) -> Iterator[Row]:
    """Samples of 200 bytes."""
    yield _ingest("ingest/200B", 200, seed)


def ingest_large(seed: int) -> Iterator[Row]:
    """Samples of 20 KB."""
    yield _ingest("ingest/20KB", 20_000, seed)


def _ingest(name: str, size: int, seed: int) -> Row:
    ours, bare = [], []
    for _ in range(TURNS):
        with _broker() as port:
            bare.append(_bare(port, size))
        with _broker() as port, TemporaryDirectory() as folder:
            ours.append(_hub(port, Path(folder), size))
    with _broker() as port:
        ceiling = _ceiling(port, size)
    return Row(
        area="delivery", name=name, value=median(ours), unit="msg/s", better="higher", seed=seed, runs=TURNS,
        data=f"{size} B tensors of 20 nodes, {SECONDS:.0f} s a turn; the generator alone sends {ceiling:.0f} msg/s",
        baseline="aiomqtt subscriber that stores nothing", baseline_value=median(bare), budget=0.5,
    )  # fmt: skip


@contextmanager
def _broker() -> Iterator[int]:
    program = mosquitto_program()
    assert program is not None, "mosquitto is missing"
    with socket.socket() as probe, TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        files = write_broker_files(BrokerSettings(port=port), Path(folder))
        with _running([program, "-c", str(files.conf)]):
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.02)
            yield port


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _generator(port: int, size: int) -> list[str]:
    return [sys.executable, "-m", "scripts.benches.delivery.generator", str(port), str(size)]


def _bare(port: int, size: int) -> float:
    command = [sys.executable, "-m", "scripts.benches.delivery.subscriber", str(port), str(SECONDS)]
    with _running(command) as subscriber, _running(_generator(port, size)):
        assert subscriber.stdout is not None
        return float(json.loads(subscriber.stdout.readline()))


def _hub(port: int, folder: Path, size: int) -> float:
    config = folder / "hub.toml"
    config.write_text("[http]\nport = 0\n[limits]\ndisk_reserve = 0\n[jobs.bench]\n")
    command = [sys.executable, "-m", "cloud_hub.cli", "run", "--config", str(config)]
    with _running([*command, "--broker", f"mqtt://127.0.0.1:{port}"]):
        database = folder / "data" / "hub.db"
        with _running(_generator(port, size)):
            while _stored(database) == 0:
                time.sleep(0.05)
            before, begin = _stored(database), time.perf_counter()
            time.sleep(SECONDS)
            return (_stored(database) - before) / (time.perf_counter() - begin)


def _stored(database: Path) -> int:
    if not database.exists():
        return 0
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
        return int(reader.execute("SELECT coalesce(max(id), 0) FROM samples").fetchone()[0])
    return 0


def _ceiling(port: int, size: int) -> float:
    with _running(_generator(port, size)) as generator:
        assert generator.stdout is not None
        return median(float(generator.stdout.readline()) for _ in range(3))


PARTS: dict[str, Part] = {"ingest/200B": ingest_small, "ingest/20KB": ingest_large}
