"""A model file is loaded and run for the first time in a process of its own, with bounds on memory and time.

The agent does so before it uses a file, and the hub to judge a conversion with the very engine that devices run. The
process is the agent's own program; bad bytes may crash it, fill its memory or let it run for ever, and no more.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from msgspec import Meta, MsgspecError, Struct, msgpack

from messages.models import Description, Report

PROGRAM = "edge_agent.engines.trial"


class Trial(Struct, frozen=True, kw_only=True):
    """What is to be tried: a model file, with its description (without one, that beside the file).

    `module` ("module:name", maybe in `folder`) makes the torch module that a .safetensors file has the weights of.
    `golden` is an .npz file of the description's golden samples (without one, that beside the file, if it is there);
    `samples` one with an array x, whose results are wanted. `address_mb` bounds the process's address space; it has
    `seconds` of time, on the clock and of a processor.
    """

    file: str
    description: Description | None = None
    module: str = ""
    folder: str = ""
    golden: str = ""
    samples: str = ""
    address_mb: Annotated[int, Meta(ge=64)] = 1024
    seconds: Annotated[int, Meta(ge=1)] = 10


def run(trial: Trial, python: str = sys.executable) -> Report:
    """Try a model; never raises for what is wrong with it: the report says so."""
    try:
        done = subprocess.run(  # noqa: S603  # our own program
            [python, "-P", "-m", PROGRAM],
            input=msgpack.encode(trial), capture_output=True, timeout=trial.seconds, env=_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Report(reason=f"model {trial.file}: took longer than {trial.seconds} s to load and run once")
    try:
        return msgpack.decode(done.stdout, type=Report)
    except MsgspecError:
        return Report(reason=f"model {trial.file}: took down its process: {_ending(done)}")


def _environment() -> dict[str, str]:
    """One thread for NumPy, whose threads would take all of the address space on a large machine."""
    package, known = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")
    path = f"{package}{os.pathsep}{known}" if known else package
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _ending(done: "subprocess.CompletedProcess[bytes]") -> str:
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"exit code {done.returncode}: {lines[-1][:200] if lines else 'it said nothing'}"
