"""What the agent costs in time on its device."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from scripts.benches import Plan, Row

RUNS = 15


def import_time(plan: Plan) -> Iterator[Row]:
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
        seed=plan.seed,
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


def infer(plan: Plan) -> Iterator[Row]:
    """What `infer` costs for an easy sample beyond the engine's own `predict`, link and store included."""
    with TemporaryDirectory() as folder:
        beyond = asyncio.run(_infer_us(_agent(Path(folder)), plan.seed))
    yield Row(
        area="edge", name="infer/p50", value=median(beyond), unit="us", better="lower", seed=plan.seed,
        runs=len(beyond), data="easy samples of 64 numbers, softmax regression in NumPy, medians of 1,000 calls",
        budget=50.0, budget_of="value",
    )  # fmt: skip


def start(plan: Plan) -> Iterator[Row]:
    """From the start of the process to the first prediction in its app's hands."""
    with TemporaryDirectory() as folder:
        config = _agent(Path(folder))
        times = [_start_s(config) for _ in range(7)]
    yield Row(
        area="edge", name="start_to_first_prediction", value=median(times), unit="s", better="lower", seed=plan.seed,
        runs=len(times), data="fresh process, warm files, NumPy engine, no broker there", budget=1.0, budget_of="value",
    )  # fmt: skip


def _agent(folder: Path) -> Path:
    import numpy as np

    random = np.random.default_rng(0)
    np.savez(folder / "small.npz", w0=random.normal(size=(64, 10)).astype("float32"), b0=np.zeros(10, "float32"))
    config = folder / "agent.toml"
    config.write_text(
        'node = "bench"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
        '[jobs.bench]\nmodel = "small.npz"\npolicy = {use = "threshold", threshold = 0.0}\n'
    )
    return config


async def _infer_us(config: Path, seed: int) -> list[float]:
    import numpy as np

    from edge_agent.agent import Agent
    from edge_agent.engines.load import for_file

    engine, x = for_file(config.parent / "small.npz"), np.random.default_rng(seed).normal(size=64).astype("float32")
    beyond = []
    async with Agent.from_config(config) as agent:
        for _ in range(9):
            ours, bare = [], []
            for _ in range(1000):
                begin = perf_counter()
                await agent.infer(x)
                middle = perf_counter()
                engine.predict(x)
                ours.append(middle - begin)
                bare.append(perf_counter() - middle)
            beyond.append((median(ours) - median(bare)) * 1e6)
    return beyond


def _start_s(config: Path) -> float:
    program = (
        "import asyncio, sys, numpy as np\n"
        "from edge_agent.agent import Agent\n"
        "async def main():\n"
        "    async with Agent.from_config(sys.argv[1]) as agent:\n"
        "        await agent.infer(np.ones(64, 'float32'))\n"
        "        print('there', flush=True)\n"
        "asyncio.run(main())\n"
    )
    begin = perf_counter()
    with subprocess.Popen([sys.executable, "-c", program, str(config)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        return perf_counter() - begin
