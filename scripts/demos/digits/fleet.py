"""The processes: a hub with its own broker and three agents, started, killed and stopped like a user would."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NODES = 3

HUB_TOML = """
data_dir = "data"
[broker]
port = {port}
[broker.accounts]
{accounts}
[http]
port = {http}
[pace]
first_s = 1.0
last_s = 4.0
[jobs.digits]
predictor = "scripts.demos.digits.big:load"
model = "../cnn.safetensors"
input = {{dtype = "float32", shape = [8, 8]}}
"""

AGENT_TOML = """
node = "device-{node}"
data_dir = "data"
beat_s = 5.0
[mqtt]
url = "mqtt://127.0.0.1:{port}"
username = "device-{node}"
password_file = "password"
retry_first_s = 0.2
retry_last_s = 2.0
[pace]
first_s = 1.0
last_s = 4.0
[jobs.digits]
model = "../small.npz"
keep = "every"
policy = {{use = "threshold", threshold = {threshold}}}
sink = "scripts.demos.digits.device:keep"
[jobs.digits.source]
use = "scripts.demos.digits.device:stream"
file = "{stream}"
node = {node}
nodes = {nodes}
interval_s = {interval}
"""


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def leave(number: int, _frame: object) -> None:
    """End as Ctrl-C does, through every `finally`: what was started is stopped and the folder is removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the stopping
    raise SystemExit(128 + number)


class Fleet:
    """Everything of one demo below one folder: `hub/`, `device-1/` to `device-3/`, the models and the stream.

    `hub_toml` and `agent_toml` are the configurations, with fields in braces.
    """

    def __init__(self, folder: Path, hub_toml: str = HUB_TOML, agent_toml: str = AGENT_TOML) -> None:
        self.folder = folder
        self._hub_toml, self._agent_toml = hub_toml, agent_toml
        self.broker_port, self.http_port = free_port(), free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def write_hub(self) -> None:
        """Write the hub's configuration, and everybody's password."""
        nodes = range(1, NODES + 1)
        accounts = []
        for name in ("hub", *(f"device-{node}" for node in nodes)):
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            (folder / "password").write_text(secrets.token_urlsafe(24) + "\n")
            accounts.append(f'{name} = "../{name}/password"')
        text = self._hub_toml.format(port=self.broker_port, http=self.http_port, accounts="\n".join(accounts))
        (self.folder / "hub" / "hub.toml").write_text(text)

    def write_agents(self, ports: dict[int, int], **fields: object) -> None:
        """Write the agents' configurations; `ports` maps a node to the port of its own link, where it has one."""
        for node in range(1, NODES + 1):
            text = self._agent_toml.format(
                node=node,
                port=ports.get(node, self.broker_port),
                stream=self.folder / "stream.npz",
                nodes=NODES,
                **fields,
            )
            (self.folder / f"device-{node}" / "agent.toml").write_text(text)

    def start(self, name: str) -> None:
        """Start the hub, or a device's agent; its log goes to `log` in its folder."""
        folder = self.folder / name
        module, config = ("cloud_hub.cli", "hub.toml") if name == "hub" else ("edge_agent.cli", "agent.toml")
        with (folder / "log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                (sys.executable, "-m", module, "run", "--config", config), cwd=folder, stderr=log, stdout=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self._running[name].kill()
        self._running[name].wait()

    def ended(self) -> list[str]:
        """Who is not running although it should."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def stop(self) -> dict[str, int]:
        """SIGTERM to all, agents first; returns the exit codes."""
        for name in sorted(self._running):
            self._running[name].terminate()
        codes = {}
        for name, process in self._running.items():
            try:
                codes[name] = process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        self._running.clear()
        return codes

    def audit(self) -> dict[str, Any]:
        """What the program that closes the books says."""
        command = (sys.executable, "-m", "scripts.demos.digits.audit", str(self.folder))
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    async def settle(self) -> None:
        """Wait until nothing is on its way: where all answers are there, their receipts may not be."""
        for _ in range(100):
            if (await asyncio.to_thread(self.audit))["waiting"] == 0:
                return
            await asyncio.sleep(0.2)
