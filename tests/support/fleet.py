"""A hub and agents as real processes on a real broker, each behind a proxy and on a disk that can be filled."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from tests.support.brokers import ROOT, RunningBroker
from tests.support.proxy import Proxy, proxy
from tests.support.small_agent import write_model
from tests.support.stops import handles_stops

DISK_BYTES = 24 << 20
LAST_LINES = 25

PLUG_INS = '''
import json, time
from io import FileIO
from pathlib import Path
import numpy as np

OUT = Path("predictions.jsonl")

def readings(*, count, offset, interval_s):
    """Numbers that no other sample has; after a crash it goes on after the last one that was judged."""
    done = {json.loads(l)["id"] for l in OUT.read_text().splitlines() if l.endswith("}")} if OUT.exists() else set()
    for n in range(count):
        if f"r{n}" not in done:
            time.sleep(interval_s)
            yield f"r{n}", np.array([offset + n + 0.5], "float32")
    while True:
        time.sleep(60.0)

_file = None

def keep(prediction):
    global _file
    _file = _file or FileIO(OUT, "a")
    line = {"id": prediction.sample_id, "provisional": prediction.provisional, "reason": prediction.reason}
    _file.write(json.dumps(line).encode() + b"\\n")
'''

BIG = """
import numpy as np

def noop(model):
    return lambda batch: np.tile([0.5, 0.5], (len(batch), 1))
"""

MQTT = """
[mqtt]
url = "mqtt://127.0.0.1:{port}"
username = "{name}"
password_file = "{password}"
retry_first_s = 0.1
retry_last_s = 0.5
keepalive_s = 2
[pace]
first_s = 0.3
last_s = 1.5
"""


class Disk:
    """A small file system of its own below a folder, so that it can be really full."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"a full disk needs a file system of its own, so run as root: {done.stderr}"

    def cramp(self, leave: int) -> None:
        """Leave so many bytes."""
        with (self.folder / "ballast").open("wb") as file:
            file.write(bytes(max(0, shutil.disk_usage(self.folder).free - leave)))

    def fill(self) -> None:
        """Leave not a byte."""
        with suppress(OSError), (self.folder / "ballast").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(65_536))
        with suppress(OSError), (self.folder / "ballast").open("ab", buffering=0) as file:
            while True:
                file.write(b"0")

    def free(self) -> None:
        """Give the room back."""
        (self.folder / "ballast").unlink(missing_ok=True)

    def unmount(self) -> None:
        """Leave no mount behind; what the databases say has been read by then."""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


class Fleet:
    """The processes by name: "hub" and the devices."""

    def __init__(self, folder: Path, broker: RunningBroker, devices: Sequence[str]) -> None:
        self.folder = folder
        self.broker = broker
        self.devices = list(devices)
        self.links: dict[str, Proxy] = {}
        self.disks: dict[str, Disk] = {}
        self.environment: dict[str, dict[str, str]] = {}
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def set_up(
        self, stack: AsyncExitStack, *, count: int, interval_s: float, disks: bool = True, more: str = ""
    ) -> None:
        """Write all configurations; each device has `count` samples, one in `interval_s`.

        With `disks` every process has one that can be filled. `more` are further tables of the agents' configurations.
        """
        for number, name in enumerate(("hub", *self.devices)):
            if disks:
                self.disks[name] = Disk(self.folder / name / "data")
                stack.callback(self.disks[name].unmount)
            (self.folder / name / "data").mkdir(parents=True, exist_ok=True)
            self.links[name] = await stack.enter_async_context(proxy(self.broker.port))
            access = MQTT.format(port=self.links[name].port, name=name, password=self.broker.passwords[name])
            access += "" if name == "hub" else more
            self._write(self.folder / name, name, access, count=count, offset=number * count, interval_s=interval_s)
        stack.push_async_callback(self.stop)
        stack.push(self._tell)

    def _tell(self, failure: type[BaseException] | None, *_: object) -> None:
        """After a failure, what a person asks first: who still ran, and what each process said last."""
        for name, process in self._running.items() if failure else ():
            said = "".join(f"  {line}\n" for line in self.log(name).splitlines()[-LAST_LINES:])
            print(f"{name}, exit code {process.returncode}, said last:\n{said}")

    def _write(self, folder: Path, name: str, access: str, **source: Any) -> None:
        if name == "hub":
            (folder / "big.py").write_text(BIG)
            job = '[jobs.side]\npredictor = "big:noop"\nbatch_wait_ms = 1\n[limits]\ndisk_reserve = 0\nretry_s = 0.5\n'
            (folder / "hub.toml").write_text(f"[http]\nport = 0\n{access}{job}")
            return
        write_model(folder)
        (folder / "plug_ins.py").write_text(PLUG_INS)
        job = '[jobs.side]\nmodel = "small.npz"\nkeep = "every"\npolicy = "cloud_only"\nsink = "plug_ins:keep"\n'
        options = "".join(f"{key} = {value}\n" for key, value in source.items())
        text = f'node = "{name}"\nbeat_s = 1.0\n{access}{job}[jobs.side.source]\nuse = "plug_ins:readings"\n{options}'
        (folder / "agent.toml").write_text(text)

    async def start(self, name: str) -> None:
        """Start a process, unless it runs."""
        if name in self._running and self._running[name].returncode is None:
            return
        module, config = ("cloud_hub.cli", "hub.toml") if name == "hub" else ("edge_agent.cli", "agent.toml")
        with (self.folder / name / "log").open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, "run", "--config", config, cwd=self.folder / name, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment.get(name, {})},
            )  # fmt: skip

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        if name in self._running and self._running[name].returncode is None:
            self._running[name].kill()
            await self._running[name].wait()

    def process(self, name: str) -> asyncio.subprocess.Process:
        """A process that was started."""
        return self._running[name]

    async def stop(self) -> dict[str, int]:
        """SIGTERM to all; the exit codes."""
        codes = {}
        for process in self._running.values():
            await handles_stops(process)
            if process.returncode is None:
                process.terminate()
        for name, process in self._running.items():
            async with asyncio.timeout(10):
                codes[name] = await process.wait()
        self._running.clear()
        return codes

    def predictions(self, name: str) -> list[dict[str, Any]]:
        """What a device's app was told."""
        file = self.folder / name / "predictions.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def log(self, name: str) -> str:
        """What a process said."""
        return (self.folder / name / "log").read_text()
