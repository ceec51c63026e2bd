"""The demo's frame: arguments, a folder, the story, the figures."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from scripts.demos.digits.fleet import NODES, leave
from scripts.demos.policy import report
from scripts.demos.policy.device import PHASES
from scripts.demos.policy.prepare import prepare
from scripts.demos.policy.story import Story

SAMPLES = 500
ZEROS = ("lost", "dropped", "duplicated", "refused", "waiting")


def main() -> int:
    """Exit code 0 when the hub's tables agree with the agents, and nothing was lost, dropped, duplicated or refused."""
    signal.signal(signal.SIGTERM, leave)
    options = _arguments()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skerry-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        prepared = prepare(folder, options.seed, options.samples)
        story = Story(folder, prepared, options.samples, options.length / options.samples)
        asyncio.run(story.run())
        found = {"phases": report.phases(folder, prepared, story.marks, options.samples)}
        problems = report.disagreements(found["phases"])
        found |= story.fleet.audit() | {
            "samples": options.samples * NODES * len(PHASES), "cloud_accuracy": round(prepared.cloud_accuracy, 4),
            "disagreements": problems, "data": "scikit-learn digits", "seed": options.seed,
            "seconds": round(time.monotonic() - begin, 1), "events": story.notes,
        }  # fmt: skip
        report.show(found, options.keep)
    for problem in problems:
        print(f"hub and agent disagree: {problem}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(bool(problems) or any(found[name] for name in ZEROS))


def _arguments() -> argparse.Namespace:
    said = "The offload policy at work: three devices, a budget that changes, and a camera that goes bad."
    parser = argparse.ArgumentParser(prog="scripts/demo policy", description=said)
    parser.add_argument("--seed", type=int, default=1, help="splits the data, draws weights and noise (default 1)")
    parser.add_argument("--samples", type=int, default=SAMPLES,
                        help=f"digits for each device and phase (default {SAMPLES})")  # fmt: skip
    parser.add_argument("--length", type=float, default=9.0, help="seconds of a phase (default 9)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", type=Path, help="work in this empty folder and leave everything there")
    options = parser.parse_args()
    options.keep = options.keep.resolve() if options.keep else None
    return options


if __name__ == "__main__":
    sys.exit(main())
