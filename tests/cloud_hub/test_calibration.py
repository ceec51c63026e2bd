"""A calibration: what is learned, what is chosen, what is promised, and what too few samples do not allow."""

import re
from dataclasses import replace

import numpy as np
import pytest
from msgspec import msgpack, structs

from cloud_hub.calibration import Calibration, CalibrationError, Fitted, calibrate, learned
from cloud_hub.calibration.bounds import labels_needed, least_share, most_share, promise
from cloud_hub.calibration.gate import pool_for
from cloud_hub.calibration.rows import Rows as Known
from cloud_hub.calibration.rows import trusted
from messages.offload.features import pooler
from messages.offload.score import distance, scorer
from messages.offload.shapes import MAX_POLICY, Certainty, Network, OffloadPolicy, Pool, Terms
from messages.tensors import unpack
from scripts.benches import Plan
from scripts.benches.policy.data import Rows, World, digits
from scripts.benches.policy.quality import quality

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


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not matter how well a network learned."""
    monkeypatch.setattr(learned, "COPIES", 2)


def synthetic(number: int, classes: int = 4, *, seed: int = 0, specialist: bool = False) -> Rows:
    """An edge that is unsure near its borders, and a cloud that is right; a specialist never heard of the last class.

    The sample's first numbers say which class it is.
    """
    random = np.random.default_rng(seed)
    y = random.integers(classes, size=number)
    logits = 2.0 * np.eye(classes)[y] + random.normal(size=(number, classes))
    logits[y == classes - 1] *= 0.5
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cloud = np.where(random.random(number) < 0.95, y, (y + 1) % classes)
    if specialist:
        cloud[y == classes - 1] = 0
    x = np.concatenate(
        [3.0 * np.eye(classes)[y] + random.normal(size=(number, classes)), random.normal(size=(number, 4))], 1
    )
    return Rows(x.astype(np.float32), y, probs, cloud)


def never_below_the_edge(policy: OffloadPolicy, rows: Rows) -> bool:
    """At any share of sent samples, in whole percent."""
    score = scores(policy, rows)
    order = np.argsort(-score, kind="stable")
    gain = rows.cloud_right.astype(int) - rows.edge_right
    total = np.cumsum(np.where(score[order] > (-np.inf if policy.floor is None else policy.floor), gain[order], 0))
    return bool((total[len(rows) // 100 :: len(rows) // 100] >= 0).all())


@pytest.mark.parametrize("number", [200, 400])
def test_with_a_specialist_in_the_cloud_the_answers_are_never_worse_than_the_edge_alone(number: int) -> None:
    policy = calibrate(known(synthetic(number, specialist=True)), BASE).policy
    assert isinstance(policy.score, Certainty if number == 200 else Network)
    assert policy.floor is not None
    assert never_below_the_edge(policy, synthetic(4000, seed=1, specialist=True))


def test_a_cloud_that_is_never_better_is_never_asked() -> None:
    rows = synthetic(400)
    useless = Rows(rows.x, rows.y, rows.probs, (rows.y + 1) % 4)
    policy = calibrate(known(useless), BASE).policy
    assert policy.floor is not None
    assert (scores(policy, useless) <= policy.floor).all()


def test_with_a_cloud_that_is_always_better_a_certainty_has_no_floor() -> None:
    assert calibrate(known(synthetic(200)), BASE).policy.floor is None


def test_without_labels_the_rule_is_the_margin() -> None:
    rows = synthetic(400)
    fitted = calibrate(Calibration(probs=rows.probs, x=rows.x, cloud=rows.cloud), BASE)
    assert (fitted.policy.score, fitted.policy.floor, fitted.table) == (Certainty(rule="margin"), None, ())
    assert (fitted.policy.samples, fitted.policy.labels) == (400, 0)
    assert fitted.policy.gate is not None
    assert fitted.notes == (
        "the rule is the margin: 0 samples have a label and the cloud's answer, a choice needs 300: 300 are missing",
        "no temperature: 0 labels, 100 are missing",
    )


def test_answers_of_the_cloud_pass_for_labels_only_where_labels_confirm_them() -> None:
    seen = synthetic(1000, specialist=True)
    rows = Known(seen.probs, None, seen.cloud, np.where(np.arange(1000) < 600, seen.y, -1))
    believed = trusted(rows.take(rows.truth >= 0), rows.take(rows.truth < 0))
    assert len(believed) == (rows.edge[600:] == 0).sum()  # there disagreement means that the edge is wrong
    assert (believed.truth == believed.cloud).all()


def test_calibration_says_how_many_answers_are_believed() -> None:
    rows = synthetic(400)
    labels = np.where(np.arange(400) < 320, rows.y, -1)
    fitted = calibrate(replace(known(rows), x=None, labels=labels), BASE)
    assert fitted.notes == ("51 of 80 samples without a label are believed",)
    assert (fitted.policy.samples, fitted.policy.labels) == (400, 320)


@pytest.mark.usefixtures("hasty")
def test_units_of_the_sample_do_not_matter() -> None:
    rows, test = synthetic(400), synthetic(200, seed=1)
    moved, far = (Rows(3e4 + 1e3 * some.x, some.y, some.probs, some.cloud) for some in (rows, test))
    plain, other = calibrate(known(rows), BASE).policy, calibrate(known(moved), BASE).policy
    np.testing.assert_allclose(scores(other, far), scores(plain, test), atol=0.05)


@pytest.mark.usefixtures("hasty")
def test_two_classes_and_one_that_calibration_never_saw() -> None:
    two = calibrate(known(synthetic(400, 2)), BASE).policy
    assert isinstance(two.score, Network)
    rows = synthetic(500, 5)
    kept = rows.take(rows.y != 2)
    policy = calibrate(known(kept), BASE).policy
    assert isinstance(policy.score, Network)
    assert scores(policy, rows)[(rows.y == 2) & (rows.probs.argmax(axis=1) == 2)].mean() > scores(policy, kept).mean()


def test_boxes_numbers_and_text_have_a_confidence_only() -> None:
    confidence, x = np.random.default_rng(0).random(80), np.random.default_rng(1).random((80, 30))
    fitted = calibrate(Calibration(probs=confidence, x=x), BASE)
    assert (fitted.policy.score, fitted.policy.floor) == (Certainty(), None)
    assert fitted.policy.sketch is not None
    np.testing.assert_allclose(
        unpack(fitted.policy.sketch)[[0, -1]], [1 - confidence.max(), 1 - confidence.min()], 1e-5
    )
    assert fitted.policy.gate is not None


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("classes", [32, 33, 1000])
def test_a_policy_is_never_larger_than_it_may_be(classes: int) -> None:
    rows = synthetic(400, classes)
    rows = Rows(np.random.default_rng(0).random((400, 50)), rows.y, rows.probs, rows.cloud)
    base = structs.replace(BASE, job="j" * 63, terms=Terms(budget=0.2, window="22:00-06:00"))
    policy = calibrate(known(rows), base).policy
    assert len(msgpack.encode(policy)) <= MAX_POLICY
    assert policy.gate is not None


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((28, 28), (7, 7)), ((416, 736, 3), (4, 4, 3)), ((6000,), (49,)), ((13,), (13,)), ((100, 6), (8, 6)),
     ((1, 8, 8), (1, 7, 7))],
)  # fmt: skip
def test_a_sample_is_pooled_to_at_most_49_cells(shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    assert pool_for(shape) == Pool(shape=shape, grid=grid)


@pytest.mark.parametrize("shape", [(), (3, 0), (2, 2, 2, 2, 2)])
def test_what_cannot_be_pooled_is_not(shape: tuple[int, ...]) -> None:
    assert pool_for(shape) is None
    policy = calibrate(Calibration(probs=np.full((60, 2), 0.5), x=np.zeros((60, *shape))), BASE).policy
    assert (policy.pool, policy.gate) == (None, None)


def test_a_large_camera_gets_a_gate_that_fits() -> None:
    x = np.random.default_rng(0).integers(256, size=(60, 416, 736, 3), dtype=np.uint8)
    policy = calibrate(Calibration(probs=synthetic(60, 1000).probs, x=x), BASE).policy
    assert policy.gate is not None
    assert len(msgpack.encode(policy)) <= MAX_POLICY


def test_samples_of_no_known_model_get_a_rule_only() -> None:
    policy = calibrate(known(synthetic(400)), structs.replace(BASE, model="")).policy
    assert isinstance(policy.score, Certainty)
    assert (policy.pool, policy.gate) == (None, None)


@pytest.mark.parametrize(
    ("data", "terms", "problem"),
    [
        (Calibration(probs=np.full((30, 2), 0.5)), None, "30 samples, at least 50 are needed: 20 are missing"),
        (Calibration(probs=np.full((60, 1), 1.0)), None, "probs: shape (60, 1)"),
        (Calibration(probs=np.full((60, 2), np.nan)), None, "probs: numbers from 0 to 1 only"),
        (Calibration(probs=np.full((60, 2), 3.0)), None, "probs: numbers from 0 to 1 only"),
        (Calibration(probs=np.full((60, 2), 0.5), labels=np.zeros(59)), None, "labels: 59 samples, probs has 60"),
        (Calibration(probs=np.full((60, 2), 0.5), labels=np.full(60, 2)), None, "labels: 2 is no class of 2"),
        (Calibration(probs=np.full((60, 2), 0.5), x=np.full((60, 3), np.inf)), None, "x: finite numbers only"),
        (
            Calibration(probs=np.full((60, 2), 0.5), labels=np.where(np.arange(60) < 20, 0, -1)),
            Terms(quality=0.95), "quality: 20 labels do not allow a promise: 39 are missing",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_said(data: Calibration, terms: Terms | None, problem: str) -> None:
    with pytest.raises(CalibrationError, match=re.escape(problem)):
        calibrate(data, structs.replace(BASE, terms=terms))


def test_a_promise_of_quality_is_kept_on_new_samples(world: World) -> None:
    base = structs.replace(BASE, terms=Terms(quality=0.95, confidence=0.95))
    policy = calibrate(known(world.calibration), base).policy
    assert policy.promise is not None
    assert policy.floor is None
    kept = scores(policy, world.test) <= policy.promise.score
    assert kept.mean() > 0.5
    assert world.test.edge_right[kept].mean() > 0.95
    assert policy.promise.error == pytest.approx(0.05)
    assert policy.promise.labels == 500


def test_promises_are_broken_no_more_often_than_they_say() -> None:
    row = next(quality(Plan(seed=0)))
    assert row.name == "quality/digits"
    assert row.ok, row


def test_the_bounds_are_those_of_clopper_and_pearson() -> None:
    assert labels_needed(0.05, 0.95) == 59
    assert most_share(np.array([0, 0]), np.array([58, 59]), 0.95) == pytest.approx([0.0503, 0.0495], abs=1e-4)
    assert most_share(np.array([3]), np.array([3]), 0.95) == pytest.approx([1.0])
    assert least_share(5, 5, 0.95) == pytest.approx(0.05 ** (1 / 5))
    assert least_share(0, 0, 0.95) == 0.0


def test_what_scores_alike_is_kept_together_or_not_at_all() -> None:
    scores, wrong = np.repeat([0.0, 1.0], 100), np.repeat([False, True], 100)
    made = promise(scores, wrong, 0.05, 0.95)
    assert made is not None
    assert made.score == 0.0
    assert promise(np.zeros(200), wrong, 0.05, 0.95) is None
