"""Runs a page of the documentation from top to bottom, as a reader would, files and commands as they stand there."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import STDOUT, Popen, run
from time import perf_counter

from tests.support.brokers import ROOT
from tests.support.console import Command, TextFile, steps
from tests.support.ports import free_port

COMMAND_S = 60.0
STOP_S = 20.0


class Story:
    """One run of a page in a folder of its own. The hub and the agent are told a free port by their environment."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.took: dict[str, float] = {}
        """When each command had ended, in seconds after the first began."""
        self._page = page
        self._folder = folder
        self._background: list[tuple[Popen[bytes], Path]] = []
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
        common = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        port = free_port()
        self._environ = {
            "cloud-hub": common | {"SKERRY_BROKER__PORT": str(port), "SKERRY_HTTP__PORT": "0"},
            "": common | {"SKERRY_MQTT__URL": f"mqtt://127.0.0.1:{port}"},
        }

    def play(self) -> None:
        """Take every step in its order; at the end what runs in the background is stopped, and ends in order."""
        began = perf_counter()
        with self._cleaned_up():
            for step in steps(self._page, self._page.name):
                if isinstance(step, TextFile):
                    file = self._folder / step.name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text("\n".join(step.lines) + "\n")
                elif step.runs_here:
                    self._run(step)
                    self.took[step.text] = perf_counter() - began

    def _run(self, command: Command) -> None:
        environ = self._environ.get(command.text.split()[0], self._environ[""])
        if command.text.endswith("&"):
            log = self._folder / f"{len(self._background)}.log"
            with log.open("wb") as out:
                shell = ["bash", "-c", f"exec {command.text.removesuffix('&')}"]
                process = Popen(shell, cwd=self._folder, env=environ, stdout=out, stderr=STDOUT)
            self._background.append((process, log))
            return
        shell = ["bash", "-c", command.text]
        done = run(shell, cwd=self._folder, env=environ, capture_output=True, text=True, check=False, timeout=COMMAND_S)
        told = "\n".join([command.place, done.stdout, done.stderr, *(log.read_text() for _, log in self._background)])
        assert done.returncode == 0, told
        assert command.missing(done.stdout) == [], told

    @contextmanager
    def _cleaned_up(self) -> Iterator[None]:
        try:
            yield
            for process, log in self._background:
                process.send_signal(signal.SIGTERM)
                assert (process.wait(STOP_S), "Traceback" in log.read_text()) == (0, False), log.read_text()
        finally:
            for process, _ in self._background:
                process.kill()
                process.wait()
