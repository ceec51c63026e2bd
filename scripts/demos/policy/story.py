"""The story: calibrate, run three phases, and import the labels of what was seen."""

import asyncio
import csv
import datetime as dt
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import json

from cloud_hub.offload import table
from cloud_hub.store.folder import reading
from cloud_hub.store.wanted import WantedTables
from messages.host.folder import FolderError
from messages.shapes import NodeStatus
from scripts.demos.digits.fleet import HUB_TOML, NODES, ROOT, Fleet
from scripts.demos.digits.report import progress
from scripts.demos.policy.device import PHASES
from scripts.demos.policy.prepare import Prepared

AGENT_TOML: Final = """
node = "device-{node}"
data_dir = "data"
beat_s = 1.0
[mqtt]
url = "mqtt://127.0.0.1:{port}"
username = "device-{node}"
password_file = "password"
[trust]
{keys}
[pace]
first_s = 1.0
last_s = 4.0
[jobs.digits]
model = "../small.npz"
keep = "every"
policy = "offload"
sink = "scripts.demos.digits.device:keep"
[jobs.digits.source]
use = "scripts.demos.policy.device:stream"
file = "{stream}"
node = {node}
interval_s = {interval}
"""

FIRST: Final = ("--budget", "0.2", "--emergency", "0.5", "--audit", "0.05")
SECOND: Final = ("--budget", "0.05", "--emergency", "0.5", "--audit", "0.05")

PATIENCE_S: Final = 60.0


class Story:
    """One run of it. `marks` are the moments (ISO) at which each phase began and ended."""

    def __init__(self, folder: Path, prepared: Prepared, samples: int, interval_s: float) -> None:
        self.fleet = Fleet(folder, HUB_TOML, AGENT_TOML)
        self.marks: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._prepared = prepared
        self._samples = samples
        self._interval_s = interval_s
        self._begin = time.monotonic()

    async def run(self) -> None:
        """From the first start to the last label; nothing runs afterwards."""
        fleet, nodes = self.fleet, [f"device-{node}" for node in range(1, NODES + 1)]
        fleet.write_hub()
        keys = self._hub("keys")
        fleet.write_agents({}, keys=keys.strip(), interval=self._interval_s)
        print(f"starting a hub and {NODES} agents; their logs are in {fleet.folder}/*/log", flush=True)
        try:
            for name in ("hub", *nodes):
                fleet.start(name)
            await self._until(lambda: len(_statuses(fleet.folder)) == NODES, "the agents are online")
            await self._calibrate()
            await self._phase(0)
            await self._set(SECOND)
            await self._phase(1)
            await self._phase(2)
            self._label()
            await fleet.settle()
        finally:
            codes = fleet.stop()
        self._note(f"stopped all by SIGTERM, exit codes {sorted(set(codes.values()))}")

    async def _calibrate(self) -> None:
        folder = self.fleet.folder
        predict = ("predict", "digits", str(folder / "labelled.npz"), "-o", str(folder / "with-edge.npz"))
        self._run("edge_agent.cli", *predict, "--config", str(folder / "device-1" / "agent.toml"))
        print(self._hub("calibrate", "digits", "--labelled", str(folder / "with-edge.npz")), flush=True)
        await self._set(FIRST)

    async def _set(self, terms: tuple[str, ...]) -> None:
        """Set the budget and wait until all agents run by it."""
        self._hub("policy", "set", "digits", *terms)
        digest = _wanted(self.fleet.folder)
        done = [digest] * NODES
        await self._until(lambda: [s.policies.get("digits") for s in _statuses(self.fleet.folder)] == done,
                          f"all agents run by {' '.join(terms[:2])}")  # fmt: skip

    async def _phase(self, number: int) -> None:
        """Let the cameras go on, and wait until all is answered and reported."""
        folder, samples = self.fleet.folder, self._samples * (number + 1)
        await asyncio.sleep(1.1)  # logs have whole seconds, and must tell the phases apart
        begin = _now()
        (folder / "phase").write_text(f"{number + 1}")
        await self._until(lambda: progress(folder) == (samples * NODES, samples * NODES), f"phase {PHASES[number]}")
        await self._until(lambda: _reported(folder) == [samples] * NODES, "all is reported")
        self.marks.append((begin, _now()))

    def _label(self) -> None:
        """Say what all digits were, those that were never sent too: that is known here only because it is a demo."""
        file = self.fleet.folder / "labels.csv"
        with file.open("w", newline="") as out:
            lines = csv.writer(out)
            lines.writerow(("sample_id", "label"))
            lines.writerows((f"digit-{number}", label) for number, label in enumerate(self._prepared.labels))
        self._note(self._hub("labels", "import", "digits", str(file)).splitlines()[0])

    def _hub(self, *arguments: str) -> str:
        return self._run("cloud_hub.cli", *arguments, "--config", str(self.fleet.folder / "hub" / "hub.toml"))

    def _run(self, module: str, *arguments: str) -> str:
        program = "cloud-hub" if module.startswith("cloud") else "edge-agent"
        done = subprocess.run((sys.executable, "-m", module, *arguments), cwd=ROOT, check=False, capture_output=True,
                              text=True)  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{program} {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        self._note(f"{program} {' '.join(arguments[:-2])}")
        return done.stdout

    def _note(self, text: str) -> None:
        line = f"{time.monotonic() - self._begin:5.1f} s  {text.replace(f'{self.fleet.folder}/', '')}"
        self.notes.append(line)
        print(f"  {line}", flush=True)

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S + self._samples * self._interval_s
        while not true():
            if ended := self.fleet.ended():
                raise SystemExit(f"{', '.join(ended)} ended: see its log in {self.fleet.folder}")
            if time.monotonic() > deadline:
                raise SystemExit(f"still waiting for: {what}")
            await asyncio.sleep(0.2)
        self._note(what)


def _statuses(folder: Path) -> list[NodeStatus]:
    try:
        with closing(reading(folder / "hub" / "data")) as reader:
            return [json.decode(text, type=NodeStatus) for (text,) in reader.execute("SELECT status FROM nodes")]
    except FolderError:  # the hub has only begun to make it
        return []


def _wanted(folder: Path) -> str:
    with closing(reading(folder / "hub" / "data")) as reader:
        found = WantedTables(reader).policy("digits", "")
    assert found is not None, "it was just set"
    return found.digest


def _reported(folder: Path) -> list[int]:
    with closing(reading(folder / "hub" / "data")) as reader:
        return [row.samples for row in table.of_job(reader, "digits").nodes]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
