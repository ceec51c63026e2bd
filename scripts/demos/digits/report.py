"""What came of it: accuracies, shares and latencies from the devices' predictions, the books from the audit."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from scripts.demos.digits.device import PREDICTIONS, predictions
from scripts.demos.digits.fleet import Fleet
from scripts.demos.digits.prepare import Prepared


class Storm:
    """What was broken, and when (seconds since the start); `kills` counts the SIGKILLs."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self.notes: list[str] = []
        self.kills = 0

    def kill(self, fleet: Fleet, name: str, what: str) -> None:
        """SIGKILL a process of the fleet, and count it."""
        fleet.kill(name)
        self.kills += 1
        self.note(f"SIGKILL of {what}")

    def note(self, text: str) -> None:
        """Remember an event and say it."""
        line = f"{time.monotonic() - self._begin:5.1f} s  {text}"
        self.notes.append(line)
        print(f"  {line}", flush=True)


def progress(folder: Path) -> tuple[int, int]:
    """How many digits have a prediction, and how many a final one."""
    lines = lines_of(folder)
    return len({line["id"] for line in lines}), len({line["id"] for line in lines if not line["provisional"]})


def figures(folder: Path, prepared: Prepared, books: Mapping[str, int], storm: Storm) -> dict[str, Any]:
    """The demo's JSON; accuracies and shares from 0 to 1, latencies in ms."""
    lines = lines_of(folder)
    edge = {line["id"]: line for line in lines if line["origin"] == "edge" and line["label"] is not None}
    joint = edge | {line["id"]: line for line in lines if line["origin"] == "cloud" and line["label"] is not None}
    hard = {line["id"] for line in edge.values() if line["provisional"]}
    return {
        "edge_accuracy": _accuracy(edge, prepared.labels),
        "joint_accuracy": _accuracy(joint, prepared.labels),
        "cloud_accuracy": round(prepared.cloud_accuracy, 4),
        "offload_share": round(len(hard) / len(prepared.labels), 4),
        "lost": books["lost"],
        "dropped": books["dropped"],
        "duplicated": books["duplicated"],
        "refused": books["refused"],
        "waiting": books["waiting"],
        "latency_ms": {
            "easy": _percentiles([line["ms"] for line in edge.values() if line["id"] not in hard]),
            "hard": _percentiles([_waited(line, edge) for line in lines if line["origin"] == "cloud"]),
        },
        "samples": len(prepared.labels),
        "data": "scikit-learn digits",
        "kills": storm.kills,
        "events": storm.notes,
    }


def show(found: Mapping[str, Any], kept: Path | None) -> None:
    """The table, and what to try next."""
    table = Table("", "", title=f"{found['samples']} handwritten digits on three devices, seed {found['seed']}")
    for name in ("edge_accuracy", "joint_accuracy", "cloud_accuracy", "offload_share"):
        table.add_row(name.replace("_", " "), f"{100 * found[name]:.1f} %")
    for name in ("lost", "dropped", "duplicated"):
        table.add_row(name, str(found[name]))
    for name, latency in found["latency_ms"].items():
        table.add_row(f"latency, {name} (p50 / p99)", f"{latency['p50']:.1f} / {latency['p99']:.1f} ms")
    console = Console()
    console.print(table)
    console.print(
        f"{found['seconds']} s after the installation. lost, dropped and duplicated come from a program that read only"
        " the databases. The slowest hard samples are those that met a kill or the cut link.\n"
    )
    where = kept or "FOLDER"
    console.print("What to try next:", style="bold")
    for line in (
        "scripts/demo --seed 7            # another split of the data, other weights",
        f"scripts/demo --keep {where}   # then: .venv/bin/cloud-hub status --config {where}/hub/hub.toml",
        "scripts/simulate --seeds 100     # a hundred worlds of fifty agents, far worse than this one",
    ):
        console.print(f"  {line}", soft_wrap=True, highlight=False)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """All predictions of all devices."""
    return [line for device in sorted(folder.glob("device-*")) for line in predictions(device / PREDICTIONS)]


def _accuracy(given: Mapping[str, Mapping[str, Any]], labels: tuple[int, ...]) -> float:
    right: int = sum(line["label"] == labels[int(name.rpartition("-")[2])] for name, line in given.items())
    return round(right / len(labels), 4)


def _waited(final: Mapping[str, Any], edge: Mapping[str, Mapping[str, Any]]) -> float | None:
    """A hard sample's wait in ms. An agent that was killed forgot when it asked: its first prediction says when."""
    known: float | None = final["ms"]
    if known is None and (first := edge.get(final["id"])) is not None:
        known = (final["at"] - first["at"]) * 1000 + (first["ms"] or 0.0)
    return known


def _percentiles(values: list[float | None]) -> dict[str, float]:
    known = [value for value in values if value is not None]
    if not known:
        return {"p50": 0.0, "p99": 0.0}
    return {"p50": round(float(np.percentile(known, 50)), 2), "p99": round(float(np.percentile(known, 99)), 2)}
