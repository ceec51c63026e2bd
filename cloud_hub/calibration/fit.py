"""Calibration: from samples to the offload policy that a hub ships."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec import msgpack, structs

from cloud_hub.calibration import bounds
from cloud_hub.calibration.choose import Candidate
from cloud_hub.calibration.gate import gate_of, pool_for
from cloud_hub.calibration.rows import Calibration, CalibrationError, Rows, checked
from cloud_hub.calibration.rule import Rule, rule_for
from messages.offload.features import Array, pooler
from messages.offload.shapes import MAX_POLICY, Certainty, Network, OffloadPolicy, Pool, Promise, Terms
from messages.tensors import pack

LEAST_SAMPLES: Final = 50
"""For a sketch of the scores, and for a gate."""

RANKS: Final = 257

SIZES: Final = ((48, 49), (40, 49), (32, 49), (32, 24), (16, 24), (8, 8))
"""Hidden units of a network and directions of a gate; the first that fit into a policy are taken."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A policy, the rules that were compared (none where there was nothing to compare), and what to tell a person."""

    policy: OffloadPolicy
    table: tuple[Candidate, ...]
    notes: tuple[str, ...]


def calibrate(data: Calibration, base: OffloadPolicy, *, seed: int = 0) -> Fitted:
    """Fit score, sketch, floor and gate, and the promise where `base.terms` ask for quality; the rest is as in `base`.

    Without labels the rule is the margin. What learns is compared by cross-validation and taken only where it is
    better by more than a standard error. Raises CalibrationError that says how many samples are missing.
    """
    data = checked(data)
    if len(data) < LEAST_SAMPLES:
        missing = LEAST_SAMPLES - len(data)
        raise CalibrationError(f"{len(data)} samples, at least {LEAST_SAMPLES} are needed: {missing} are missing")
    terms = base.terms or Terms()
    pool = pool_for(data.x.shape[1:]) if data.x is not None and base.model else None
    pooled = None if pool is None or data.x is None else pooler(pool)(data.x)
    rule = _rule(data, pooled, base, seed=seed)
    known = structs.replace(
        base,
        sketch=pack(np.quantile(rule.scores, np.linspace(0.0, 1.0, RANKS)).astype(np.float32)),
        floor=rule.floor,
        promise=None if terms.quality is None else _promise(rule, 1.0 - terms.quality, terms.confidence),
        samples=len(data),
        labels=len(rule.judged),
    )
    return Fitted(_sized(known, rule, pool, pooled), rule.table, rule.notes)


def _rule(data: Calibration, pooled: Array | None, base: OffloadPolicy, *, seed: int) -> Rule:
    assert data.cloud is not None
    assert data.labels is not None
    if data.probs.ndim == 2:
        quality = base.terms is not None and base.terms.quality is not None
        rows = Rows(data.probs, pooled, data.cloud, data.labels)
        return rule_for(rows, quality=quality, learn=bool(base.model), seed=seed)
    rows = Rows(data.probs[:, None], None, data.cloud, data.labels)
    none = np.empty(0)
    return Rule(lambda *_: Certainty(), rows, 1.0 - data.probs, none, none)


def _promise(rule: Rule, error: float, confidence: float) -> Promise | None:
    missing = bounds.labels_needed(error, confidence) - len(rule.judged)
    if missing > 0:
        raise CalibrationError(f"quality: {len(rule.judged)} labels do not allow a promise: {missing} are missing")
    return bounds.promise(rule.judged, rule.wrong, error, confidence)


def _sized(policy: OffloadPolicy, rule: Rule, pool: Pool | None, pooled: Array | None) -> OffloadPolicy:
    """With score and gate, as large as fits."""
    for units, parts in SIZES:
        score = rule.score(units)
        gate = None if pooled is None else gate_of(pooled, parts)
        sees = gate is not None or (isinstance(score, Network) and score.cells)
        full = structs.replace(policy, score=score, gate=gate, pool=pool if sees else None)
        if len(msgpack.encode(full)) <= MAX_POLICY:
            return full
    raise CalibrationError(f"the policy would take more than {MAX_POLICY} bytes: job and terms are too long")
