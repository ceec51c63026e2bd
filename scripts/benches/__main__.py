"""The command behind `scripts/bench`: runs areas, prints a table for people, writes JSON for machines."""

import argparse
import json
import pkgutil
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

import scripts.benches
from scripts.benches import Part, Plan, Row

_console = Console(stderr=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, or 1 when a budget is missed."""
    parser = argparse.ArgumentParser("scripts/bench", description="Measures Skerry beside bare baselines.")
    parser.add_argument("areas", nargs="*", metavar="AREA", help="an area, or one part of it as AREA/PART; all without")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--seconds", type=float, default=60.0, help="measure rates for so long (default: 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    given = parser.parse_args(arguments)
    parts = chosen(given.areas, known_parts())
    if isinstance(parts, str):
        parser.error(parts)
    rows = run(parts, Plan(given.seed, given.seconds))
    Console().print(table(rows))
    if given.json is not None:
        given.json.write_text(json.dumps({"rows": [row.as_json() for row in rows]}, indent=1) + "\n")
    return 0 if all(row.ok for row in rows) else 1


def known_parts() -> dict[str, Part]:
    """All parts, as "area/part"."""
    found: dict[str, Part] = {}
    for module in pkgutil.iter_modules(scripts.benches.__path__):
        if module.name != "__main__":
            parts: dict[str, Part] = import_module(f"scripts.benches.{module.name}").PARTS
            found |= {f"{module.name}/{name}": part for name, part in parts.items()}
    return found


def chosen(areas: Sequence[str], known: dict[str, Part]) -> dict[str, Part] | str:
    """The parts that areas mean, or in words which area there is not."""
    parts: dict[str, Part] = {}
    for area in areas or ["*"]:
        matching = {name: part for name, part in known.items() if area in ("*", name, name.split("/")[0])}
        if not matching:
            return f"no area {area!r}; there are {', '.join(known)}"
        parts |= matching
    return parts


def run(parts: dict[str, Part], plan: Plan) -> list[Row]:
    """Measure one part after the other; each says when it begins and what came out."""
    rows: list[Row] = []
    for name, part in parts.items():
        started = time.monotonic()
        _console.print(f"== {name}", highlight=False)
        rows += part(plan)
        _console.print(f"   done in {time.monotonic() - started:.0f} s", highlight=False)
    return rows


def table(rows: Sequence[Row]) -> Table:
    """Rows for a person."""
    result = Table("what", "ours", "baseline", "ratio", "budget", "", title="Benchmarks")
    for row in rows:
        beside = f"{row.baseline_value:.4g} {row.unit} ({row.baseline})" if row.baseline_value is not None else ""
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = "" if row.budget is None else "[green]kept" if row.ok else "[red]MISSED"
        result.add_row(f"{row.area} {row.name}", f"{row.value:.4g} {row.unit}", beside, ratio, row.bound(), verdict)
    return result


if __name__ == "__main__":
    sys.exit(main())
