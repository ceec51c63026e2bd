"""A large file to an agent, beside a bare pipe on the same broker; and what both programs weigh meanwhile."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from scripts.benches import Plan, Row
from scripts.benches.blob import bare
from scripts.benches.blob.programs import Program, program
from scripts.benches.delivery.processes import broker, running

SIZE = 100_000_000
RUNS = 5
SETTLE_S = 1.0
LOOK_S = 0.01


def throughput(plan: Plan) -> Iterator[Row]:
    """The file until it is whole, verified and on the disk. The first run of either side is not counted."""
    with TemporaryDirectory() as place, broker() as port:
        folder = Path(place)
        source = folder / "source"
        source.write_bytes(np.random.default_rng(plan.seed).bytes(SIZE))
        with program("hub", port, folder / "hub") as hub, program("agent", port, folder / "agent") as agent:
            time.sleep(SETTLE_S)
            idle = [_rss(one) for one in (agent, hub)]
            ref = hub.order(str(source))
            with _peaks(agent, hub) as peaks:
                ours = [float(agent.order(ref).split()[0])]
            theirs: list[float] = []
            with running([sys.executable, "-m", "scripts.benches.blob.bare", str(port), str(source)]) as sender:
                assert sender.stdout is not None
                sender.stdout.readline()
                for _ in range(RUNS + 1):
                    theirs.append(asyncio.run(bare.receive(port, SIZE, folder / "target")))
                    with _peaks(agent, hub, peaks):
                        ours.append(float(agent.order(ref).split()[0]))
    about = f"{SIZE // 1_000_000} MB over mosquitto, until it is verified and on the disk"
    yield Row(
        area="blob", name="throughput", value=SIZE / 1e6 / median(ours[1:]), unit="MB/s", better="higher", data=about,
        seed=plan.seed, runs=RUNS, baseline="bare chunk pipe, same range and window",
        baseline_value=SIZE / 1e6 / median(theirs[1:]), budget=0.6,
    )  # fmt: skip
    for name, before, peak, budget in zip(("agent", "hub"), idle, peaks, (60.0, 40.0), strict=True):
        yield Row(
            area="blob", name=f"{name}_rss_mb", value=peak - before, unit="MB", better="lower", seed=plan.seed,
            runs=RUNS + 2, data=f"{about}: most above idle ({before:.0f} MB)", budget=budget, budget_of="value",
        )  # fmt: skip


@contextmanager
def _peaks(agent: Program, hub: Program, peaks: list[float] | None = None) -> Iterator[list[float]]:
    """The most that both weigh while the block runs, in MB; what was seen before counts too."""
    found = [0.0, 0.0] if peaks is None else peaks
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_S):
            found[:] = [max(most, _rss(one)) for most, one in zip(found, (agent, hub), strict=True)]

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def _rss(one: Program) -> float:
    return float(psutil.Process(one.pid).memory_info().rss) / 1e6
