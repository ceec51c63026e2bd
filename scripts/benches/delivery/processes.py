"""The real programs that a measurement runs: a broker, a hub, and whatever stands beside them."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from msgspec import structs

from cloud_hub.broker.child import mosquitto_program
from cloud_hub.broker.files import write_broker_files
from cloud_hub.broker.settings import BrokerSettings

NO_OP = "def load(model):\n    return lambda batch: [[0.5, 0.5]] * len(batch)\n"
"""The big model of a hub that is measured: it costs nothing."""

CONFIG = """
[http]
port = {http}
[limits]
disk_reserve = 0
[jobs.collect]
[jobs.bench]
predictor = "no_op:load"
"""


@contextmanager
def broker(settings: BrokerSettings | None = None) -> Iterator[int]:
    """A mosquitto with the configuration that the hub generates, on a free port of this machine: the port."""
    program = mosquitto_program()
    assert program is not None, "mosquitto is missing"
    port = free_port()
    with TemporaryDirectory() as folder:
        files = write_broker_files(structs.replace(settings or BrokerSettings(), port=port), Path(folder))
        with running([program, "-c", str(files.conf)]) as process:
            _wait_until(lambda: _accepts(port), process)
            yield port


@dataclass(frozen=True, slots=True)
class RunningHub:
    """A hub that is connected and has its workers: the file of its database, and where it shows its numbers."""

    database: Path
    http: str

    def turns(self) -> int:
        """Commits since the start."""
        with urlopen(f"{self.http}/metrics") as answer:  # noqa: S310 - always http
            lines = answer.read().decode().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("hub_commits_total "))


@contextmanager
def hub(port: int) -> Iterator[RunningHub]:
    """A hub on a broker, with a big model that does nothing, ready to take samples."""
    with TemporaryDirectory() as place:
        folder, http = Path(place), free_port()
        (folder / "no_op.py").write_text(NO_OP)
        config = folder / "hub.toml"
        config.write_text(CONFIG.format(http=http))
        command = [sys.executable, "-m", "cloud_hub.cli", "run", "--config", str(config)]
        with running([*command, "--broker", f"mqtt://127.0.0.1:{port}"]) as process:
            found = RunningHub(folder / "data" / "hub.db", f"http://127.0.0.1:{http}")
            _wait_until(lambda: _is_well(found.http), process)
            yield found


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process with pipes, killed at the end."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        time.sleep(0.02)


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _is_well(http: str) -> bool:
    with suppress(OSError), urlopen(f"{http}/healthz") as answer:  # noqa: S310 - always http
        return bool(answer.status == HTTPStatus.OK)
    return False
