"""Samples one after the other, as a device sees them: whether the budget holds, and a change of the world is noticed.

The policy is plain, the margin with a gate: what is measured is control, not choice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from msgspec import structs

from cloud_hub.calibration import Calibration, calibrate
from edge_agent.policies.limits import Moment
from edge_agent.policies.offload import Offload
from messages.offload.features import Array
from messages.offload.shapes import OffloadPolicy, Terms
from messages.shapes import Classes
from scripts.benches import Plan, Row
from scripts.benches.policy import data
from scripts.benches.policy.data import Rows, World

SEEDS: Final = 5
SHIFT_SEEDS: Final = 8
LENGTH: Final = 1000
WINDOW: Final = 200
SOON: Final = 100
"""So many samples after a change are looked at: those before the alarm count too."""

MILD, STRONG = 0.08, 0.2
"""The standard deviation of the noise on every pixel, which are from 0 to 1."""

SEGMENTS: Final = (("clean", 0.2), ("noisy", 0.2), ("noisy", 0.05), ("clean", 0.05), ("clean", 0.4), ("skewed", 0.2))
"""The world and the budget of each 1,000 samples."""

_SEGMENTED: Final = "MNIST-5k: six segments of 1,000 samples, budget 20/20/5/5/40/20 %, noise and class skew"
_SHIFTED: Final = "MNIST-5k: 3,000 clean samples, then 1,000 with noise of 0.2; budget 20 %, emergency 100 %"


@dataclass(frozen=True, slots=True)
class _Run:
    """Which of the samples (n,) were sent, and the budget of each."""

    sent: Array
    budgets: Array

    def errors(self) -> Array:
        """By segment, how far the share is from the budget, in points."""
        points: Array = 100.0 * np.abs((self.sent - self.budgets).reshape(-1, LENGTH).mean(axis=1))
        return points

    def over(self) -> float:
        """The share of windows that are more than 5 points above the budget, in percent."""
        sums = np.concatenate([[0.0], np.cumsum(self.sent - self.budgets)])
        return 100.0 * float(((sums[WINDOW:] - sums[:-WINDOW]) / WINDOW > 0.05).mean())


def budget(plan: Plan) -> Iterator[Row]:
    """How far the share of sent samples is from the budget, and how often it is above it."""
    runs = [_segments(seed) for seed in range(plan.seed, plan.seed + SEEDS)]
    for name, value, unit, most in (
        ("mean_abs_error", float(np.mean([run.errors() for run in runs])), "points", 0.4),
        ("windows_over", float(np.mean([run.over() for run in runs])), "%", 1.0),
    ):
        yield Row(
            area="policy", name=f"budget/{name}", value=value, unit=unit, better="lower", seed=plan.seed, runs=SEEDS,
            data=_SEGMENTED, budget=most, budget_of="value",
        )  # fmt: skip


def shift(plan: Plan) -> Iterator[Row]:
    """How far from the cloud's the accuracy is soon after strong noise came, and how many alarms there were before."""
    seeds = range(plan.seed, plan.seed + SHIFT_SEEDS)
    gaps, false = zip(*map(_change, seeds), strict=True)
    for name, value, unit, most in (
        ("accuracy_gap", float(np.mean(gaps)), "points", 3.0),
        ("false_alarms", float(np.mean(false)), "per 3,000", 0.5),
    ):
        yield Row(
            area="policy", name=f"shift/{name}", value=value, unit=unit, better="lower", seed=plan.seed,
            runs=SHIFT_SEEDS, data=_SHIFTED, budget=most, budget_of="value",
        )  # fmt: skip


def plain(world: World, terms: Terms) -> OffloadPolicy:
    """What is fitted without labels: the margin as score, a sketch, and a gate."""
    base = OffloadPolicy(job="bench", version=1, model="bench", terms=terms)
    return calibrate(Calibration(probs=world.calibration.probs, x=world.calibration.x), base).policy


def decided(policy: Offload, rows: Rows) -> Array:
    """Which samples a policy sends, one after the other."""
    results = [Classes(probs=tuple(p.tolist())) for p in rows.probs]
    return np.array([policy.decide(*both, Moment()).offload for both in zip(results, rows.x, strict=True)])


def _segments(seed: int) -> _Run:
    world, rng = data.mnist5k(seed), np.random.default_rng(seed)
    policy, offload = plain(world, Terms()), Offload(random=Random(seed))
    sent = []
    for kind, share in SEGMENTS:
        offload.adopt(structs.replace(policy, terms=Terms(budget=share)))
        sent.append(decided(offload, _drawn(world, kind, rng)))
    return _Run(np.concatenate(sent), np.repeat([share for _, share in SEGMENTS], LENGTH))


def _change(seed: int) -> tuple[float, int]:
    """Points to the cloud in the first SOON samples after a change, and the alarms before it."""
    world, rng = data.mnist5k(seed), np.random.default_rng(seed)
    offload = Offload(random=Random(seed))
    offload.adopt(plain(world, Terms(budget=0.2, emergency=1.0)))
    for _ in range(3):
        decided(offload, _drawn(world, "clean", rng))
    false = len(offload.alarms)
    drawn = _drawn(world, "clean", rng)
    rows = world.see(data.noise(drawn.x, STRONG, seed), drawn.y)
    right = np.where(decided(offload, rows), rows.cloud_right, rows.edge_right)
    return 100.0 * float(rows.cloud_right[:SOON].mean() - right[:SOON].mean()), false


def _drawn(world: World, kind: str, rng: np.random.Generator) -> Rows:
    """LENGTH samples of the test's, clean, noisy, or with 3, 5 and 8 ten times as often."""
    test = world.test
    weights = np.where(np.isin(test.y, (3, 5, 8)) & (kind == "skewed"), 10.0, 1.0)
    rows = test.take(rng.choice(len(test), LENGTH, p=weights / weights.sum()))
    return world.see(data.noise(rows.x, MILD, int(rng.integers(1 << 30))), rows.y) if kind == "noisy" else rows
