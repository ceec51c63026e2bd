"""Runs many simulated worlds on all processors and prints those whose books do not close."""

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from pathlib import Path

from tests.simulation.checks import Result
from tests.simulation.plan import Plan
from tests.simulation.world import run


def main() -> int:
    """Exit code 0 when the books of every world close, 1 when not."""
    options = _arguments()
    seeds = range(options.seed, options.seed + options.seeds)
    bad: list[Result] = []
    whole = blake2b(digest_size=16)
    samples = lost = duplicated = 0
    for done, result in enumerate(_progress(_results(seeds, options.agents), len(seeds)), 1):
        whole.update(result.digest.encode())
        samples, lost = samples + result.samples, lost + result.lost
        duplicated += result.duplicated
        if not result.ok:
            bad.append(result)
            _complain(result, options.agents)
        if len(bad) >= options.most:
            print(f"stopped after {done} worlds: {len(bad)} of them are wrong")
            break
    figures = {
        "seed": options.seed, "seeds": len(seeds), "agents": options.agents, "samples": samples, "lost": lost,
        "duplicated": duplicated, "failed_seeds": [result.seed for result in bad], "digest": whole.hexdigest(),
    }  # fmt: skip
    print(f"{len(seeds)} worlds of {options.agents} agents, {samples} hard samples:")
    print(f"{lost} lost, {duplicated} duplicated effects, {len(bad)} wrong worlds, digest {whole.hexdigest()}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if bad else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--seeds", type=int, default=300, help="how many worlds (default 300)")
    parser.add_argument("--agents", type=int, default=Plan().agents, help="agents in each world (default 50)")
    parser.add_argument("--most", type=int, default=5, help="stop after so many wrong worlds (default 5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def _results(seeds: range, agents: int) -> Iterator[Result]:
    if len(seeds) == 1:
        yield run(seeds[0], Plan(agents=agents))
        return
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from pool.map(_one, ((seed, agents) for seed in seeds), chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _one(task: tuple[int, int]) -> Result:
    seed, agents = task
    gc.disable()  # a world is garbage as a whole when it has ended: looking for some before takes a fifth of the time
    try:
        return run(seed, Plan(agents=agents))
    finally:
        gc.collect()


def _progress(results: Iterator[Result], total: int) -> Iterator[Result]:
    begin = shown = time.monotonic()
    for number, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - shown >= 2.0:
            shown = now
            left = (now - begin) / number * (total - number)
            print(f"  {number}/{total} worlds, {left:.0f} s to go", file=sys.stderr, flush=True)


def _complain(result: Result, agents: int) -> None:
    print(f"seed {result.seed}: {result.lost} lost, {result.duplicated} duplicated")
    for problem in result.problems[:10]:
        print(f"    {problem}")
    size = "" if agents == Plan().agents else f" --agents {agents}"
    print(f"    again: scripts/simulate --seed {result.seed} --seeds 1{size}")


if __name__ == "__main__":
    sys.exit(main())
