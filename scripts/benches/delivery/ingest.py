"""The hub's durable ingest beside a bare subscriber that stores nothing, on brokers with the same configuration."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median

from scripts.benches import Plan, Row
from scripts.benches.delivery.processes import broker, hub, running

TURNS = 3
"""Ours and the baseline take turns, so that both meet the same neighbours."""

LOOK_S = 0.01

Count = Callable[[], int]


def small(plan: Plan) -> Iterator[Row]:
    """Samples of 200 bytes."""
    yield _ingest("ingest/200B", 200, plan)


def large(plan: Plan) -> Iterator[Row]:
    """Samples of 20 KB."""
    yield _ingest("ingest/20KB", 20_000, plan)


def _ingest(name: str, size: int, plan: Plan) -> Row:
    ours, bare, seconds = [], [], plan.seconds / TURNS
    for _ in range(TURNS):
        with broker() as port:
            bare.append(_bare(port, size, seconds))
        with broker() as port:
            ours.append(_hub(port, size, seconds))
    with broker() as port:
        ceiling = _ceiling(port, size)
    return Row(
        area="delivery", name=name, value=median(ours), unit="msg/s", better="higher", seed=plan.seed, runs=TURNS,
        data=f"{size} B tensors of 20 nodes, {plan.seconds:.0f} s; the generator alone sends {ceiling:.0f} msg/s",
        baseline="aiomqtt subscriber that stores nothing", baseline_value=median(bare), budget=0.5,
    )  # fmt: skip


def _generator(port: int, size: int, mode: str) -> list[str]:
    return [sys.executable, "-m", "scripts.benches.delivery.generator", str(port), str(size), mode]


def _bare(port: int, size: int, seconds: float) -> float:
    with running([sys.executable, "-m", "scripts.benches.delivery.subscriber", str(port)]) as subscriber:
        assert subscriber.stdout is not None
        line = subscriber.stdout.readline
        line()
        return _rate(lambda: int(line()), _generator(port, size, "ahead"), seconds)


def _hub(port: int, size: int, seconds: float) -> float:
    with hub(port) as ours, closing(sqlite3.connect(f"file:{ours.database}?mode=ro", uri=True)) as reader:

        def stored() -> int:
            time.sleep(LOOK_S)
            return int(reader.execute("SELECT coalesce(max(id), 0) FROM samples").fetchone()[0])

        return _rate(stored, _generator(port, size, "ahead"), seconds)


def _rate(count: Count, generator: list[str], seconds: float) -> float:
    """Messages a second from a second after the first one on."""
    with running(generator) as sender:
        begin, first = 0.0, 0
        warm_until = float("inf")
        while True:
            number = count()
            now = time.perf_counter()
            _tell(sender, number)
            if number and warm_until == float("inf"):
                warm_until = now + min(1.0, seconds)
            if not begin and now >= warm_until:
                begin, first = now, number
            if begin and now - begin >= seconds:
                return (number - first) / (now - begin)


def _tell(sender: subprocess.Popen[str], number: int) -> None:
    assert sender.stdin is not None
    sender.stdin.write(f"{number}\n")
    sender.stdin.flush()


def _ceiling(port: int, size: int) -> float:
    with running(_generator(port, size, "free")) as generator:
        assert generator.stdout is not None
        return median(float(generator.stdout.readline()) for _ in range(3))
