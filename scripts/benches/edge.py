"""What the agent costs on its device."""

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from scripts.benches import Part, Row

RUNS = 15


def import_time(seed: int) -> Iterator[Row]:
    """How long a script waits for `edge_agent`, beside the libraries that any agent over MQTT with a database needs."""
    ours, bare = "import edge_agent.agent", "import asyncio, sqlite3, msgspec, aiomqtt"
    times: dict[str, list[float]] = {ours: [], bare: []}
    for _ in range(RUNS):
        for code, measured in times.items():
            measured.append(_import_ms(code))
    yield Row(
        area="edge",
        name="import",
        value=median(times[ours]),
        unit="ms",
        better="lower",
        data=f"{ours}, fresh process, warm files",
        seed=seed,
        runs=RUNS,
        baseline=bare,
        baseline_value=median(times[bare]),
        budget=150.0,
        budget_of="value",
    )


def _import_ms(code: str) -> float:
    program = f"from time import perf_counter as t; s = t(); {code}; print((t() - s) * 1e3)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout)


PARTS: dict[str, Part] = {"import": import_time}
