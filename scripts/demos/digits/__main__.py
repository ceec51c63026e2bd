"""The demo's story: prepare, start everything, break it while it works, wait until all is answered, and add it up."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from scripts.demos.digits.fleet import NODES, Fleet, leave
from scripts.demos.digits.link import Link
from scripts.demos.digits.prepare import EPOCHS, HELD_OUT, Prepared, prepare
from scripts.demos.digits.report import Storm, figures, progress, show

CUT_S = 5.0
PATIENCE_S = 120.0
"""How long the last answers may take; a minute more than it ever took."""


def main() -> int:
    """Exit code 0 when nothing was lost, dropped, duplicated or refused, and nothing waits any more."""
    signal.signal(signal.SIGTERM, leave)
    options = _arguments()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skerry-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        prepared = prepare(folder, options.seed, options.samples, epochs=options.epochs)
        storm = asyncio.run(_live(folder, prepared, options))
        books = Fleet(folder).audit()
        found = figures(folder, prepared, books, storm)
        found |= {"seed": options.seed, "seconds": round(time.monotonic() - begin, 1)}
        show(found, options.keep)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(any(found[name] for name in ("lost", "dropped", "duplicated", "refused", "waiting")))


def _arguments() -> argparse.Namespace:
    others = "Other sides of it: scripts/demo policy [--help]."
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__, epilog=others)
    parser.add_argument("--seed", type=int, default=1, help="splits the data and draws the weights (default 1)")
    parser.add_argument("--samples", type=int, default=HELD_OUT, help=f"digits to classify (default {HELD_OUT})")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"how long the CNN learns (default {EPOCHS})")
    parser.add_argument("--storm", type=float, default=18.0, help="seconds over which they are dealt out (default 18)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", type=Path, help="work in this empty folder and leave everything there")
    options = parser.parse_args()
    options.keep = options.keep.resolve() if options.keep else None
    return options


async def _live(folder: Path, prepared: Prepared, options: argparse.Namespace) -> Storm:
    fleet, storm = Fleet(folder), Storm()
    link = Link(fleet.broker_port)
    await link.open()
    fleet.write_hub()
    interval_s = options.storm * NODES / options.samples
    fleet.write_agents({2: link.port}, threshold=prepared.threshold, interval=interval_s)
    print(f"starting a hub and {NODES} agents; their logs are in {folder}/*/log", flush=True)
    try:
        for name in ("hub", *(f"device-{node}" for node in range(1, NODES + 1))):
            fleet.start(name)
        await _break(fleet, link, storm, options.storm)
        await _finish(fleet, options.samples)
        await fleet.settle()
    finally:
        codes = fleet.stop()
        await link.cut()
    storm.note(f"stopped all by SIGTERM, exit codes {sorted(set(codes.values()))}")
    return storm


async def _break(fleet: Fleet, link: Link, storm: Storm, length_s: float) -> None:
    """Kill the hub, then one agent, then cut the link of another, all while samples are dealt out."""
    # the hub's model loads for some seconds; hard samples that come before that wait, which is what they should do
    await asyncio.sleep(4.0 + 0.25 * length_s)
    storm.kill(fleet, "hub", "the hub (and of its broker and model with it)")
    await asyncio.sleep(1.0)
    fleet.start("hub")
    await asyncio.sleep(0.15 * length_s)
    storm.kill(fleet, "device-1", "the agent on device-1")
    await asyncio.sleep(0.5)
    fleet.start("device-1")
    await asyncio.sleep(0.1 * length_s)
    await link.cut()
    storm.note(f"cut the link of device-2 for {CUT_S:.0f} s")
    await asyncio.sleep(CUT_S)
    await link.open()


async def _finish(fleet: Fleet, samples: int) -> None:
    deadline, told = time.monotonic() + PATIENCE_S, 0.0
    while True:
        judged, final = progress(fleet.folder)
        if final >= samples:
            return
        if ended := fleet.ended():
            raise SystemExit(f"{', '.join(ended)} ended: see its log in {fleet.folder}")
        if time.monotonic() > deadline:
            raise SystemExit(f"{samples - final} of {samples} digits have no final answer after {PATIENCE_S:.0f} s")
        if time.monotonic() - told >= 2.0:
            told = time.monotonic()
            print(f"  {judged} of {samples} digits judged, {final} final", flush=True)
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
