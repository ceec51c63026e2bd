"""What the agent weighs: the real program, connected over TLS and idle, beside a bare client that does nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from cloud_hub.broker.settings import BrokerSettings
from scripts.benches import Plan, Row
from scripts.benches.delivery.processes import broker
from tests.support.authority import Authority

RUNS = 3
SETTLE_S = 1.0
"""After the connection: what the start still has to do is done by then."""

BARE = """
import asyncio, ssl, sys, aiomqtt
async def main():
    tls = ssl.create_default_context(cafile=sys.argv[2])
    async with aiomqtt.Client("127.0.0.1", int(sys.argv[1]), tls_context=tls):
        print("connected to the broker", file=sys.stderr, flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""

JOB = '[jobs.bench]\nmodel = "small.npz"\n'


def resident(plan: Plan) -> Iterator[Row]:
    """Without any job, so without an engine, and with one job on the NumPy engine."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        authority = Authority(folder)
        np.savez(folder / "small.npz", w0=np.ones((64, 10), "float32"), b0=np.zeros(10, "float32"))
        files = authority.certify("broker")
        tls = BrokerSettings(cert_file=files["cert_file"], key_file=files["key_file"])
        with broker(tls) as port:
            bare = median(_rss_mb([sys.executable, "-c", BARE, str(port), authority.ca_file]) for _ in range(RUNS))
            for name, jobs, budget in (("rss/tls", "", 40.0), ("rss/tls+numpy", JOB, 60.0)):
                command = _agent(folder, f"mqtts://127.0.0.1:{port}", authority.ca_file, jobs)
                yield Row(
                    area="edge", name=name, value=median(_rss_mb(command) for _ in range(RUNS)), unit="MB",
                    better="lower", data="edge-agent run, connected and idle", seed=plan.seed, runs=RUNS,
                    baseline="bare aiomqtt client over TLS", baseline_value=bare, budget=budget, budget_of="value",
                )  # fmt: skip


def _agent(folder: Path, url: str, ca_file: str, jobs: str) -> list[str]:
    config = folder / "agent.toml"
    config.write_text(f'node = "bench"\n[mqtt]\nurl = "{url}"\nca_file = "{ca_file}"\n{jobs}')
    return [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(config)]


def _rss_mb(command: list[str]) -> float:
    """Of a program that says on stderr when it is connected."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "connected to" in line:
                time.sleep(SETTLE_S)
                return float(psutil.Process(process.pid).memory_info().rss) / 1e6
        raise RuntimeError(f"it never connected: {said}")
    finally:
        process.kill()
        process.communicate()
