"""How much better answers are for what is sent: every rule on every world, beside chance, Sedna's and the oracle."""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from random import Random
from typing import Final

import numpy as np
from msgspec import structs
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cloud_hub.calibration import Calibration, calibrate
from cloud_hub.calibration.candidates import certainties, learners, temperature_of
from cloud_hub.calibration.gain import oracle_share
from cloud_hub.calibration.rows import Rows as Known
from edge_agent.policies.offload import Offload
from edge_agent.policies.rules import cross_entropy
from messages.offload import features
from messages.offload.features import Array
from messages.offload.score import scorer
from messages.offload.shapes import Network, OffloadPolicy, Score, Terms
from messages.shapes import Classes
from scripts.benches import Plan, Row
from scripts.benches.policy.data import WORLDS, Rows, World
from scripts.benches.policy.stream import decided

SEEDS: Final = 5
SHARES: Final = (0.05, 0.1, 0.2, 0.3)
AT: Final = SHARES.index(0.2)
UNITS: Final = 48

GOALS: Final = {"digits": 93.4, "mnist5k": 92.8, "specialist": 89.0, "noisy": 80.3}
"""Percent right at a share of 20 %."""

SEDNA: Final = "entropy, as Sedna"
SHIPPED: Final = "what ships"

_console = Console()


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one world and seed.

    `by_rule` is percent right at each share, and at last the percentage of the oracle's gain; `least` is the points
    above the edge alone where they are least. Through the controller `controlled` percent are right of which `sent`
    percent were sent; by Sedna's rule it would be `sedna` percent.
    """

    by_rule: dict[str, Array]
    chosen: str
    least: float
    controlled: float
    sedna: float
    sent: float


def accuracy(plan: Plan) -> Iterator[Row]:
    """Percent right with the best share of the test set sent, and through the running controller."""
    seeds = range(plan.seed, plan.seed + SEEDS)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        by_seed = list(track(pool.map(_worlds, seeds), "seeds", SEEDS, console=Console(stderr=True)))
    for name in WORLDS:
        seen = [worlds[name] for worlds in by_seed]
        _console.print(_table(name, seen))
        yield from _rows(name, seen, plan)


def _rows(name: str, seen: list[Seen], plan: Plan) -> Iterator[Row]:
    data = f"{name}: {_counted(seen)}"
    ours, sedna = ([one.by_rule[rule][AT] for one in seen] for rule in (SHIPPED, SEDNA))
    yield Row(
        area="policy", name=f"{name}/accuracy@20", value=float(np.mean(ours)), unit="%", better="higher", data=data,
        seed=plan.seed, runs=SEEDS, baseline="Sedna's entropy rule", baseline_value=float(np.mean(sedna)),
        budget=GOALS.get(name), budget_of="value",
    )  # fmt: skip
    yield Row(
        area="policy", name=f"{name}/controlled@20", value=float(np.mean([one.controlled for one in seen])), unit="%",
        better="higher", data=f"{data}; {np.mean([one.sent for one in seen]):.1f} % sent", seed=plan.seed, runs=SEEDS,
        baseline="Sedna's entropy rule at the same share", baseline_value=float(np.mean([one.sedna for one in seen])),
    )  # fmt: skip
    if name == "specialist":
        yield Row(
            area="policy", name=f"{name}/above_edge", value=min(one.least for one in seen), unit="points",
            better="higher", data=f"{data}; the worst of all shares and seeds", seed=plan.seed, runs=SEEDS,
            budget=0.0, budget_of="value",
        )  # fmt: skip


def _counted(seen: list[Seen]) -> str:
    chosen = [one.chosen for one in seen]
    return ", ".join(f"{rule} in {chosen.count(rule)} of {len(chosen)}" for rule in dict.fromkeys(chosen))


def _worlds(seed: int) -> dict[str, Seen]:
    """One seed in all worlds, in a process of its own; it says how far it is."""
    done = {}
    for name, world in WORLDS.items():
        done[name] = _seen(world(seed), seed)
        print(f"   {name}, seed {seed}", file=sys.stderr, flush=True)
    return done


def _seen(world: World, seed: int) -> Seen:
    test = world.test
    policy, chosen = _calibrated(world.name, seed)
    scores = {name: (score, 0.0 if isinstance(score, Network) else None) for name, score in _fits(world.name, seed)}
    scores[SHIPPED] = (policy.score, policy.floor)
    pooled = None if policy.pool is None else features.pooler(policy.pool)(test.x)
    sent = _sent(policy, test, seed)
    surprise = _sedna(test)
    by_rule = _bounds(test, seed) | {SEDNA: _at(surprise, None, test)}
    for name, (score, floor) in scores.items():
        by_rule[name] = _at(scorer(score)(test.probs, pooled), floor, test)
    return Seen(
        by_rule, chosen, _least(scorer(policy.score)(test.probs, pooled), policy.floor, test),
        controlled=100.0 * float(np.where(sent, test.cloud_right, test.edge_right).mean()),
        sedna=_right(surprise, None, test, sent.mean()), sent=100.0 * float(sent.mean()),
    )  # fmt: skip


@cache
def _calibrated(name: str, seed: int) -> tuple[OffloadPolicy, str]:
    if name == "shift":  # its calibration is that of the clean world
        return _calibrated("mnist5k", seed)
    rows = WORLDS[name](seed).calibration
    data = Calibration(probs=rows.probs, x=rows.x, cloud=rows.cloud, labels=rows.y)
    fitted = calibrate(data, OffloadPolicy(job=name, version=1, model="bench"), seed=seed)
    return fitted.policy, next(candidate.rule for candidate in fitted.table if candidate.chosen)


@cache
def _fits(name: str, seed: int) -> list[tuple[str, Score]]:
    """All the rules that a calibration compares, fitted."""
    if name == "shift":
        return _fits("mnist5k", seed)
    rows, pool = WORLDS[name](seed).calibration, _calibrated(name, seed)[0].pool
    assert pool is not None
    known = Known(rows.probs, features.pooler(pool)(rows.x), rows.cloud, rows.y)
    fits = certainties(temperature_of(known)) | learners(seed)
    return [(rule, fit(known, UNITS)) for rule, fit in fits.items()]


def _sedna(rows: Rows) -> Array:
    rule = cross_entropy()
    return np.array([rule(Classes(probs=tuple(p.tolist()))).rank for p in rows.probs])


def _bounds(rows: Rows, seed: int) -> dict[str, Array]:
    """Edge and cloud alone, chance, and who knows beforehand what helps."""
    ones = np.append(np.ones(len(SHARES)), np.nan)
    gain = rows.cloud_right.astype(float) - rows.edge_right
    return {
        "edge alone": 100.0 * rows.edge_right.mean() * ones,
        "cloud alone": 100.0 * rows.cloud_right.mean() * ones,
        "random": _at(np.random.default_rng(seed).random(len(rows)), None, rows),
        "oracle": _at(gain, 0.0, rows),
    }


def _at(scores: Array, floor: float | None, rows: Rows) -> Array:
    gain = rows.cloud_right.astype(float) - rows.edge_right
    right = [_right(scores, floor, rows, share) for share in SHARES]
    return np.array([*right, 100.0 * oracle_share(scores, gain, floor)])


def _right(scores: Array, floor: float | None, rows: Rows, share: float) -> float:
    """Percent right when this share with the highest scores is sent, but nothing up to the floor."""
    sent = np.argsort(-scores, kind="stable")[: round(share * len(rows))]
    if floor is not None:
        sent = sent[scores[sent] > floor]
    right = rows.edge_right.copy()
    right[sent] = rows.cloud_right[sent]
    return 100.0 * float(right.mean())


def _least(scores: Array, floor: float | None, rows: Rows) -> float:
    """Points above the edge alone at the share, of 1 to 100 %, where it is least."""
    alone = 100.0 * rows.edge_right.mean()
    return min(_right(scores, floor, rows, percent / 100) for percent in range(1, 101)) - float(alone)


def _sent(policy: OffloadPolicy, rows: Rows, seed: int) -> Array:
    offload = Offload(random=Random(seed))
    offload.adopt(structs.replace(policy, terms=Terms(budget=0.2)))
    return decided(offload, rows)


def _table(name: str, seen: list[Seen]) -> Table:
    shares = (f"{share:.0%}" for share in SHARES)
    table = Table("rule", *shares, "oracle's gain", "20 %, to Sedna's", title=f"{name}: percent right")
    for rule in seen[0].by_rule:
        right = np.array([one.by_rule[rule] for one in seen])
        beyond = right[:, AT] - [one.by_rule[SEDNA][AT] for one in seen]
        error = beyond.std(ddof=1) / np.sqrt(len(seen))
        table.add_row(
            rule,
            *("" if np.isnan(value) else f"{value:.2f}" for value in right.mean(axis=0)),
            f"{beyond.mean():+.2f} ± {error:.2f}",
        )
    return table
