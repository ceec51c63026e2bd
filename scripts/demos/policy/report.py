"""What came of it: the hub's own tables, a phase at a time, and what the devices wrote down of the same samples."""

import datetime as dt
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cloud_hub.offload.table import ALL
from scripts.demos.digits.fleet import NODES, ROOT
from scripts.demos.digits.report import lines_of
from scripts.demos.policy.device import PHASES, number_of
from scripts.demos.policy.prepare import Prepared

Row = dict[str, Any]
Marks = tuple[str, str]
"""A phase's begin and end, as ISO times."""


def phases(folder: Path, prepared: Prepared, marks: Sequence[Marks], samples: int) -> dict[str, dict[str, Row]]:
    """For each phase and node what the hub's tables say, beside `agent`: what the node wrote down itself."""
    own = _own(folder, prepared, marks, samples)
    found: dict[str, dict[str, Row]] = {}
    for number, name in enumerate(PHASES):
        shown = _table(folder, *marks[number])
        rows = (*shown["nodes"], shown["all"])
        found[name] = {row["node"]: _row(row) | {"agent": own[row["node"]][number]} for row in rows}
    return found


def disagreements(found: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """Where hub and agent say something different: counts must be equal, an estimate twice its interval is off."""
    problems = []
    for phase, rows in found.items():
        if len(rows) != NODES + 1:
            problems.append(f"{phase}: the hub's table has {', '.join(rows) or 'nobody'}")
        for node, row in rows.items():
            own = row["agent"]
            pairs = [(name, row[name], own[name]) for name in ("samples", "sent", "alarms")]
            problems += [f"{phase}, {node}: {name} {a} here, {b} there" for name, a, b in pairs if a != b]
            low, high = row["joint_interval"] or (0.0, 1.0)
            room = (high - low) / 2 + 1e-3
            if not low - room <= own["joint_accuracy"] <= high + room:
                problems.append(f"{phase}, {node}: joint accuracy {low:.3f} to {high:.3f}, not {own['joint_accuracy']}")
    return problems


def show(found: Mapping[str, Any], kept: Path | None) -> None:
    """The table, and what to try next."""
    title = f"three devices, {found['samples']} digits, seed {found['seed']}: what the hub's tables say"
    table = Table("device", "rate", "budget", "joint accuracy", "agent's own", "alarms", title=title)
    for phase, rows in found["phases"].items():
        table.add_section()
        table.add_row(Text(phase, "bold"))
        for node, row in rows.items():
            budget = "" if row["budget"] is None else f"{100 * row['budget']:.0f} %"
            own = f"{100 * row['agent']['joint_accuracy']:.1f} %"
            table.add_row(node, f"{100 * row['rate']:.1f} %", budget, _joint(row), own, ", ".join(row["alarms"]))
    console = Console()
    console.print(table)
    console.print(
        f"{found['seconds']} s after the installation; lost {found['lost']}, dropped {found['dropped']}, duplicated"
        f" {found['duplicated']}. Rates and alarms are the agents' own counts, to the sample; joint accuracies are"
        " estimated from labels of what was sent and of audits, and lie beside what the devices really got.\n"
    )
    where = kept or "FOLDER"
    table_command = f".venv/bin/cloud-hub offload digits --config {where}/hub/hub.toml"
    console.print("What to try next:", style="bold")
    for line in (
        "scripts/demo policy --seed 7      # another split of the data, other weights, another noise",
        f"scripts/demo policy --keep {where}   # then: {table_command}",
        "scripts/bench policy              # the rules against each other, on five sets of data",
    ):
        console.print(f"  {line}", soft_wrap=True, highlight=False)


def _table(folder: Path, since: str, until: str) -> Row:
    command = (sys.executable, "-m", "cloud_hub.cli", "offload", "digits", "--json", "--since", since, "--until", until)
    config = ("--config", str(folder / "hub" / "hub.toml"))
    found: Row = json.loads(subprocess.run((*command, *config), cwd=ROOT, check=True, capture_output=True).stdout)
    return found


def _joint(row: Row) -> str:
    if row["joint_interval"] is None:
        return "no audits"
    low, high = row["joint_interval"]
    return f"{100 * row['joint_accuracy']:.1f} % \\[{100 * low:.1f}, {100 * high:.1f}]"


def _row(row: Row) -> Row:
    joint, agreement = row["joint_accuracy"], row["agreement"]
    return {name: row[name] for name in ("samples", "sent", "budget", "audits", "bytes", "low_trust")} | {
        "rate": round(row["rate"], 4),
        "joint_accuracy": joint and round(joint["value"], 4),
        "joint_interval": joint and [round(joint[end], 4) for end in ("low", "high")],
        "agreement": agreement and round(agreement["value"], 4),
        "alarms": [alarm["kind"] for alarm in row["alarms"]],
    }


def _own(folder: Path, prepared: Prepared, marks: Sequence[Marks], samples: int) -> dict[str, list[Row]]:
    """By node and phase: counts and accuracy from the predictions that its apps got, alarms from its log."""
    edge: dict[int, int | None] = {}
    final: dict[int, int | None] = {}
    sent = set()
    for line in lines_of(folder):
        number = int(line["id"].rpartition("-")[2])
        (final if line["origin"] == "cloud" else edge)[number] = line["label"]
        if line["provisional"]:
            sent.add(number)
    joint = edge | final
    found: dict[str, list[Row]] = {}
    for node in range(1, NODES + 1):
        alarms = _alarms((folder / f"device-{node}" / "log").read_text(), marks)
        found[f"device-{node}"] = []
        for phase, kinds in enumerate(alarms):
            numbers = range(number_of(node, phase, 0, samples), number_of(node, phase, samples, samples))
            right = sum(joint[number] == prepared.labels[number] for number in numbers)
            found[f"device-{node}"].append({
                "samples": sum(number in edge for number in numbers), "sent": len(sent & set(numbers)),
                "joint_accuracy": round(right / samples, 4), "alarms": kinds,
            })  # fmt: skip
    found[ALL] = [_together([rows[phase] for rows in found.values()]) for phase in range(len(PHASES))]
    return found


def _together(rows: Sequence[Row]) -> Row:
    accuracy = sum(row["joint_accuracy"] for row in rows) / len(rows)
    return {name: sum(row[name] for row in rows) for name in ("samples", "sent")} | {
        "joint_accuracy": round(accuracy, 4), "alarms": [],
    }  # fmt: skip


def _alarms(log: str, marks: Sequence[Marks]) -> list[list[str]]:
    """The kinds of the alarms that held in each phase, by a log's lines."""
    begun: dict[int, tuple[str, float]] = {}
    over: dict[int, float] = {}
    for moment, number, kind, text in re.findall(r"^(\S+ \S+) .* alarm (\d+), ([a-z ]+): (.*)$", log, re.MULTILINE):
        if text == "over":
            over[int(number)] = _seconds(moment)
        else:
            begun[int(number)] = kind, _seconds(moment)
    return [
        [kind for number, (kind, at) in begun.items() if at <= end and over.get(number, end + 1) > begin]
        for begin, end in (map(_seconds, pair) for pair in marks)
    ]


def _seconds(moment: str) -> float:
    """Whole seconds, as logs have them."""
    return float(int(dt.datetime.fromisoformat(moment).astimezone().timestamp()))
