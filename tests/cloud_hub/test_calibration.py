"""A calibration: what is learned, what is chosen, what is promised, and what too few samples do not allow."""

import numpy as np
import pytest
from msgspec import msgpack

from cloud_hub.calibration import Calibration, Fitted, calibrate
from messages.offload.features import pooler
from messages.offload.score import distance, scorer
from messages.offload.shapes import MAX_POLICY, OffloadPolicy
from messages.tensors import unpack
from scripts.benches.policy.data import Rows, World, digits

BASE = OffloadPolicy(job="digits", version=3, model="e" * 64, fitted_at=5)


def known(rows: Rows) -> Calibration:
    return Calibration(probs=rows.probs, x=rows.x, cloud=rows.cloud, labels=rows.y)


@pytest.fixture(scope="module")
def world() -> World:
    return digits(0)


@pytest.fixture(scope="module")
def fitted(world: World) -> Fitted:
    return calibrate(known(world.calibration), BASE)


def scores(policy: OffloadPolicy, rows: Rows) -> np.ndarray:
    pooled = None if policy.pool is None else pooler(policy.pool)(rows.x)
    return np.asarray(scorer(policy.score)(rows.probs, pooled))


def test_a_second_opinion_is_chosen_where_it_is_better(fitted: Fitted, world: World) -> None:
    (chosen,) = [candidate for candidate in fitted.table if candidate.chosen]
    margin = fitted.table[0]
    assert (chosen.rule, margin.rule) == ("network", "margin")
    assert chosen.share > margin.share + margin.error
    sent = np.argsort(-scores(fitted.policy, world.test))[: len(world.test) // 5]
    right = world.test.edge_right.copy()
    right[sent] = world.test.cloud_right[sent]
    assert right.mean() > 0.955


def test_what_is_not_fitted_stays(fitted: Fitted) -> None:
    same = {name: getattr(fitted.policy, name) for name in ("job", "version", "model", "fitted_at", "terms")}
    assert same == {"job": "digits", "version": 3, "model": "e" * 64, "fitted_at": 5, "terms": None}
    assert (fitted.policy.samples, fitted.policy.labels, fitted.policy.floor) == (500, 500, 0.0)
    assert len(msgpack.encode(fitted.policy)) <= MAX_POLICY


def test_the_highest_ranks_in_the_sketch_are_even_on_new_samples(fitted: Fitted, world: World) -> None:
    assert fitted.policy.sketch is not None
    sketch = unpack(fitted.policy.sketch)
    assert sketch.shape == (257,)
    ranks = np.searchsorted(sketch, scores(fitted.policy, world.test)) / 257
    assert np.abs(np.quantile(ranks, [0.7, 0.8, 0.9]) - [0.7, 0.8, 0.9]).max() < 0.05


def test_the_gate_lets_99_percent_of_new_samples_pass_and_no_noise(fitted: Fitted, world: World) -> None:
    gate, pool = fitted.policy.gate, fitted.policy.pool
    assert gate is not None
    assert pool is not None
    far = distance(gate)(pooler(pool)(world.test.x))
    assert 0.0 < (far > gate.threshold).mean() < 0.04
    noise = world.test.x + np.random.default_rng(0).normal(0, 0.5, world.test.x.shape)
    assert (distance(gate)(pooler(pool)(noise)) > gate.threshold).mean() > 0.9
    standard = (np.log(far) - gate.location) / gate.scale
    assert abs(standard.mean()) < 0.2
    assert 0.8 < standard.std() < 1.2
