"""The process in which a model is tried: `python -m edge_agent.engines.trial`, started by `messages.host.trial`.

It reads a Trial from stdin and writes a Report to stdout. What runtimes print goes to stderr.
"""

import os
import resource
import sys
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from msgspec import msgpack, structs

from edge_agent import plugins
from edge_agent.engines.protocol import ModelError, Runtime
from messages import models
from messages.host.trial import Trial
from messages.models import Description, Report

CALLS = 25


def main() -> int:
    """Try what stdin says."""
    trial = msgpack.decode(sys.stdin.buffer.read(), type=Trial)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    bound(trial)
    report = attempt(trial)
    answer.write(msgpack.encode(structs.replace(report, peak_mb=peak_mb())))
    answer.flush()
    return 0


def bound(trial: Trial) -> None:
    """Let this process take only so much, write no files and leave no image of its memory."""
    address = trial.address_mb << 20
    for limit, most in (
        (resource.RLIMIT_AS, address), (resource.RLIMIT_CPU, trial.seconds),
        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def peak_mb() -> float:
    """The most memory that this program had; that of getrusage counts the program before it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def attempt(trial: Trial) -> Report:
    """Load the file and run it. What is wrong is said in the report."""
    from edge_agent.engines import load

    path = Path(trial.file)
    report = Report()
    try:
        raw = load.read(path)
        report = Report(sha256=sha256(raw).hexdigest(), size=len(raw))
        about = trial.description or load.described(path)
        report, runtime = _loaded(report, raw, about or _undescribed(path), trial)
        return _used(report, runtime, about or load.plain(path, runtime), trial)
    except (ModelError, plugins.PluginError, ValueError, RuntimeError, MemoryError) as error:
        text = str(error) or type(error).__name__
        return structs.replace(report, reason=text if text.startswith("model ") else f"model {path}: {text}"[:500])


def _undescribed(path: Path) -> Description:
    """Enough to load a file without running it."""
    return Description(format=models.format_of(path), input=models.Input(shape=()), output=models.Embedding())


def _loaded(report: Report, raw: bytes, about: Description, trial: Trial) -> tuple[Report, Runtime]:
    from edge_agent.engines import load

    if trial.folder:
        sys.path.append(trial.folder)
    began = perf_counter()
    runtime = load.runtime(raw, about, module=trial.module, look=True)
    spent = (perf_counter() - began) * 1e3
    report = structs.replace(report, runtime=runtime.name, load_ms=spent, input=runtime.input, outputs=runtime.outputs)
    return report, runtime


def _used(report: Report, runtime: Runtime, about: Description, trial: Trial) -> Report:
    import numpy as np

    from edge_agent.engines import golden
    from edge_agent.engines.described import DescribedEngine

    engine = DescribedEngine(runtime, about, report.sha256)
    zeros = np.zeros(about.input.shape, about.input.dtype)
    if not np.isfinite(golden.row(engine.predict(zeros))).all():
        raise ModelError("gives NaN or infinity for a sample of zeros")
    report = structs.replace(report, call_us=_call_us(engine, zeros))
    file = Path(trial.golden) if trial.golden else golden.beside(Path(trial.file))
    if about.golden is not None and (trial.golden or file.exists()):
        report = golden.compare(report, engine, about.golden, file)
    if trial.samples:
        report = structs.replace(report, results=golden.results(engine, Path(trial.samples)))
    return report


def _call_us(engine: Any, x: Any) -> float:
    times = []
    for _ in range(CALLS):
        began = perf_counter()
        engine.predict(x)
        times.append(perf_counter() - began)
    return median(times) * 1e6


if __name__ == "__main__":
    sys.exit(main())
