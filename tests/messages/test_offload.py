"""What hub and agent compute alike: one sample gives what a batch gives, and what cannot be judged says why."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec import msgpack

from messages.offload import features
from messages.offload.score import distance, scorer
from messages.offload.shapes import Certainty, Gate, Layer, Network, OffloadPolicy, Pool, Score
from messages.shapes import Box, Boxes, Classes, Scalar, Tensor, Text
from messages.tensors import pack

CLASSES = 10
POOL = Pool(shape=(28, 28), grid=(7, 7))


def tensor(*shape: int, seed: int = 0) -> Tensor:
    return pack(np.random.default_rng(seed).standard_normal(shape).astype(np.float16))


def network(units: int = 1, *, classes: int = CLASSES, cells: int = 49) -> Network:
    inputs = features.width(classes) + cells
    hidden = Layer(weights=tensor(inputs, 8), bias=tensor(8))
    return Network(classes=classes, cells=cells, layers=(hidden, Layer(weights=tensor(8, units), bias=tensor(units))))


def probabilities(number: int, classes: int = CLASSES) -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.full(classes, 0.3), size=number)


@pytest.mark.parametrize(
    "score",
    [Certainty(rule="margin"), Certainty(rule="entropy", temperature=0.6), Certainty(rule="max_probability"),
     network(1), network(2), network(CLASSES + 1)],
)  # fmt: skip
def test_one_sample_scores_as_it_does_in_a_batch(score: Score):
    p, x = probabilities(20), np.random.default_rng(2).random((20, 28, 28))
    pool, score_of = features.pooler(POOL), scorer(score)
    one_by_one = [score_of(row, pool(image)) for row, image in zip(p, x, strict=True)]
    np.testing.assert_allclose(score_of(p, pool(x)), one_by_one, rtol=1e-4, atol=1e-5)


def test_a_certain_result_scores_0_and_a_tie_scores_1():
    certain, tie = np.eye(4)[0], np.full(4, 0.25)
    for rule in ("margin", "entropy"):
        assert scorer(Certainty(rule=rule))(certain, None) == pytest.approx(0.0, abs=1e-4)
        assert scorer(Certainty(rule=rule))(tie, None) == pytest.approx(1.0, abs=1e-6)
    assert scorer(Certainty(rule="max_probability"))(tie, None) == pytest.approx(0.75)


def test_a_temperature_is_a_division_of_the_logits():
    logits = np.array([2.0, 1.0, -1.0])
    cooled = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum()
    np.testing.assert_allclose(features.scaled(np.exp(logits) / np.exp(logits).sum(), 0.5), cooled, rtol=1e-6)


@pytest.mark.parametrize(("shape", "grid"), [((6,), (3,)), ((4, 6), (2, 3)), ((4, 6, 3), (2, 2, 1)), ((5, 7), (2, 3))])
def test_a_pool_averages_cells_of_any_shape(shape: tuple[int, ...], grid: tuple[int, ...]):
    pool = features.pooler(Pool(shape=shape, grid=grid))
    x = np.random.default_rng(3).random((2, *shape))
    assert pool(x).shape == (2, int(np.prod(grid)))
    np.testing.assert_allclose(pool(x).mean(axis=1), x.reshape(2, -1).mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(pool(x[0]), pool(x)[0], rtol=1e-5)


def test_a_pool_of_whole_cells_is_their_mean():
    x = np.arange(16.0).reshape(4, 4)
    expected = x.reshape(2, 2, 2, 2).mean(axis=(1, 3)).ravel()
    np.testing.assert_allclose(features.pooler(Pool(shape=(4, 4), grid=(2, 2)))(x), expected)


def test_a_distance_is_mahalanobis():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 3))
    covariance = np.cov(x.T)
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    gate = Gate(mean=pack(x.mean(0)), whiten=pack(whiten), threshold=3.0, location=0.0, scale=1.0)
    moved = x - x.mean(0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", moved, np.linalg.inv(covariance), moved))
    np.testing.assert_allclose(distance(gate)(x), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Classes(probs=()), features.INVALID),
        (Classes(probs=(1.0,)), features.ONE_CLASS),
        (Classes(probs=(float("nan"), 1.0)), features.INVALID),
        (Classes(probs=(float("inf"), 0.0)), features.INVALID),
        (Classes(probs=(0.5, 0.9)), features.INVALID),
        (Classes(probs=(-0.5, 1.5)), features.INVALID),
        (Boxes(boxes=()), features.NO_BOXES),
        (Boxes(boxes=(Box(corners=(0, 0, 1, 1), score=float("nan")),)), features.INVALID),
        (Boxes(boxes=(Box(corners=(0, 0, 1, 1), score=1.0), Box(corners=(0, 0, 1, 1), score=0.5))), 0.75),
        (Scalar(scalar=float("nan"), confidence=0.5), features.INVALID),
        (Scalar(scalar=1.0), features.NO_CONFIDENCE),
        (Scalar(scalar=1.0, confidence=float("nan")), features.INVALID),
        (Text(text="to the edge", confidence=0.46), 0.46),
        (Text(text="", confidence=1.5), features.INVALID),
    ],
)
def test_a_result_has_probabilities_a_confidence_or_a_reason(value, expected):
    assert features.read(value) == expected


@given(arrays(np.float64, st.integers(0, 12), elements=st.floats(allow_nan=True, allow_infinity=True)))
def test_probabilities_are_such_or_say_why_not(p: np.ndarray):
    found = features.read(Classes(probs=tuple(p.tolist())))
    if isinstance(found, str):
        assert found in (features.INVALID, features.ONE_CLASS)
    else:
        assert abs(np.sum(found) - 1.0) < 0.06


@pytest.mark.parametrize(
    ("score", "problem"),
    [
        (Network(classes=3, layers=()), "at least one"),
        (network(3), "3 units"),
        (Network(classes=3, layers=(Layer(weights=tensor(3, 1), bias=tensor(1)),)), "takes 10"),
        (Network(classes=3, layers=(Layer(weights=pack(np.zeros((10, 1), np.int8)), bias=tensor(1)),)), "int8"),
        (Network(classes=3, layers=(Layer(weights=pack(np.full((10, 1), np.nan)), bias=tensor(1)),)), "nan"),
    ],
)
def test_a_network_that_does_not_fit_says_what(score: Network, problem: str):
    with pytest.raises(ValueError, match=problem):
        scorer(score)


@pytest.mark.parametrize("pool", [Pool(shape=(), grid=()), Pool(shape=(4,), grid=(2, 2)), Pool(shape=(4,), grid=(5,))])
def test_a_pool_that_does_not_fit_is_refused(pool: Pool):
    with pytest.raises(ValueError, match="pool"):
        features.pooler(pool)


def test_a_policy_with_a_network_and_a_gate_stays_small():
    gate = Gate(mean=tensor(49), whiten=tensor(49, 49), threshold=1.0, location=0.0, scale=1.0)
    hidden = Layer(weights=tensor(features.width(CLASSES) + 49, 32), bias=tensor(32))
    score = Network(classes=CLASSES, cells=49, layers=(hidden, Layer(weights=tensor(32, 1), bias=tensor(1))))
    policy = OffloadPolicy(job="digits", version=1, score=score, pool=POOL, sketch=tensor(257), gate=gate)
    assert len(msgpack.encode(policy)) < 12_000
    assert msgpack.decode(msgpack.encode(policy), type=OffloadPolicy) == policy
