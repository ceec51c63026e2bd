"""Policies and streams to try the offload policy on: a score is 1 - margin of two classes, x is one number."""

from collections.abc import Iterable
from random import Random
from typing import Any

import numpy as np
from msgspec import structs

from edge_agent.policies.limits import Moment, Offline
from edge_agent.policies.offload import Offload
from edge_agent.policies.rules import Decision
from messages.offload.shapes import Gate, OffloadPolicy, Pool, Terms
from messages.shapes import Classes
from messages.tensors import pack

NEAR, FAR = np.array([0.0], np.float32), np.array([50.0], np.float32)
"""A sample as those of calibration, and one from another world."""


def scored(score: float) -> Classes:
    """A result whose score is this number from 0 to 1."""
    return Classes(probs=(1.0 - score / 2.0, score / 2.0))


def fitted(*, gate: bool = False, **changes: Any) -> OffloadPolicy:
    """A policy whose sketch says that scores are spread evenly from 0.1 to 0.9."""
    sketch = pack(np.linspace(0.1, 0.9, 257).astype(np.float32))
    if gate:
        mean, whiten = pack(np.zeros(1, np.float32)), pack(np.ones((1, 1), np.float32))
        changes |= {
            "pool": Pool(shape=(1,), grid=(1,)),
            "gate": Gate(mean=mean, whiten=whiten, threshold=3.0, location=-0.6, scale=1.1),
        }
    return structs.replace(OffloadPolicy(job="digits", version=1, sketch=sketch), **changes)


def offload(policy: OffloadPolicy | None = None, *, seed: int = 1, offline: Offline = "keep", **terms: Any) -> Offload:
    """The agent's side of it, with the agent's own terms; without audits unless they are named."""
    made = Offload(structs.replace(Terms(audit=0.0), **terms), offline=offline, random=Random(seed))
    if policy is not None:
        made.adopt(policy)
    return made


def stream(policy: Offload, scores: Iterable[float], x: np.ndarray = NEAR) -> list[Decision]:
    """One decision after the other."""
    return [policy.decide(scored(score), x, Moment(at=1000 + number)) for number, score in enumerate(scores)]


def share(decisions: list[Decision]) -> float:
    """The share that was sent."""
    return sum(decision.offload for decision in decisions) / len(decisions)
