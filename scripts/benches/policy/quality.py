"""How often a promise of quality is broken: at most as often as it says."""

from collections.abc import Iterator
from math import sqrt
from typing import Final

import numpy as np

from cloud_hub.calibration.bounds import promise
from messages.offload.features import Array
from messages.offload.score import scorer
from messages.offload.shapes import Certainty
from scripts.benches import Plan, Row
from scripts.benches.policy.data import WORLDS, World

RUNS: Final = 200
ERROR: Final = 0.05
CONFIDENCE: Final = 0.95


def quality(plan: Plan) -> Iterator[Row]:
    """Of 200 calibrations on drawn samples, those whose promise all the samples together break."""
    allowed = 1.0 - CONFIDENCE + 3.0 * sqrt(CONFIDENCE * (1.0 - CONFIDENCE) / RUNS)
    for name in ("digits", "mnist5k"):
        world = WORLDS[name](plan.seed)
        broken, kept = _promises(world, plan.seed)
        yield Row(
            area="policy", name=f"quality/{name}", value=100.0 * broken, unit="% broken", better="lower",
            data=f"{len(world.calibration)} labels, 5 % errors with 95 % confidence; {kept:.0%} kept on the edge",
            seed=plan.seed, runs=RUNS, budget=100.0 * allowed, budget_of="value",
        )  # fmt: skip


def _promises(world: World, seed: int) -> tuple[float, float]:
    """The share of broken promises, and the mean share of samples that was kept under one."""
    random, (scores, wrong) = np.random.default_rng(seed), _margins(world)
    broken, kept = [], []
    for _ in range(RUNS):
        drawn = random.integers(len(scores), size=len(world.calibration))
        made = promise(scores[drawn], wrong[drawn], ERROR, CONFIDENCE)
        held = scores <= (-np.inf if made is None else made.score)
        broken.append(held.any() and wrong[held].mean() > ERROR)
        kept.append(held.mean())
    return float(np.mean(broken)), float(np.mean(kept))


def _margins(world: World) -> tuple[Array, Array]:
    probs = np.concatenate([world.calibration.probs, world.test.probs])
    right = np.concatenate([world.calibration.edge_right, world.test.edge_right])
    return np.asarray(scorer(Certainty())(probs, None)), ~right
