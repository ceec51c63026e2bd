"""One sample on the device scores as it does in a batch on the hub, and lies as far away."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.policies.forward import forward
from messages.offload import features
from messages.offload.score import distance, scorer
from messages.offload.shapes import Gate, Layer, Network, Pool
from messages.shapes import Tensor
from messages.tensors import pack

POOLS = [
    Pool(shape=(28, 28), grid=(7, 7)), Pool(shape=(9,), grid=(4,)), Pool(shape=(6, 5, 3), grid=(2, 2, 1)),
]  # fmt: skip


def tensor(rng: np.random.Generator, *shape: int) -> Tensor:
    return pack((rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float16))


def network(rng: np.random.Generator, classes: int, cells: int, units: list[int]) -> Network:
    sizes = [features.width(classes) + cells, *units]
    layers = [Layer(weights=tensor(rng, a, b), bias=tensor(rng, b)) for a, b in zip(sizes, units, strict=False)]
    return Network(classes=classes, cells=cells, layers=tuple(layers))


def gate_of(rng: np.random.Generator, cells: int) -> Gate:
    return Gate(mean=tensor(rng, cells), whiten=tensor(rng, cells, 3), threshold=1.0, location=0.0, scale=1.0)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 3, 10, 32, 33, 50]),
    st.tuples(st.sampled_from(POOLS), st.sampled_from([np.float32, np.float64, np.uint8]), st.booleans()),
    st.lists(st.integers(1, 9), max_size=2),
    st.sampled_from(["gain", "two logits", "classes"]),
)
def test_one_sample_is_as_in_a_batch(seed, classes, kind, hidden, last) -> None:
    (pool, dtype, sees), rng = kind, np.random.default_rng(seed)
    cells = int(np.prod(pool.grid))
    net = network(rng, classes, cells * sees, [*hidden, {"gain": 1, "two logits": 2}.get(last, classes + 1)])
    gate = gate_of(rng, cells)
    p = rng.dirichlet(np.full(classes, 0.05), size=8)  # with zeros and ties among them
    x = (3.0 * rng.random((8, *pool.shape))).astype(dtype)
    pooled = features.pooler(pool)(x)
    scores, away = scorer(net)(p, pooled if sees else None), distance(gate)(pooled)
    one = forward(net, gate, pool)
    found = np.array([one(tuple(row.tolist()), sample) for row, sample in zip(p, x, strict=True)])
    np.testing.assert_allclose(found, np.column_stack([scores, away]), rtol=1e-5, atol=1e-6)


def test_a_logit_that_is_much_the_highest_leaves_nothing_for_the_others() -> None:
    bias = np.array([0.0, 0.0, 2e3], np.float32)
    layer = Layer(weights=pack(np.zeros((features.width(2), 3), np.float32)), bias=pack(bias))
    one = forward(Network(classes=2, layers=(layer,)), None, None)
    assert one((0.9, 0.1), None) == (0.5, 0.0)
    assert one((0.1, 0.9), None) == (-0.5, 0.0)


def nothing(*found: float) -> bool:
    return all(map(isnan, found))


def test_what_is_no_sample_or_no_probabilities_has_no_score_and_the_next_one_does_not_suffer() -> None:
    rng, pool = np.random.default_rng(0), POOLS[0]
    one = forward(network(rng, 3, 49, [4, 4]), gate_of(rng, 49), pool)
    p, x = (0.5, 0.3, 0.2), rng.random((28, 28), np.float32)
    good = one(p, x)
    for bad in (None, [[0.0]], x[:7], x.astype(str), x.astype(complex)):
        assert nothing(*one(p, bad))
    assert nothing(*one(p, np.full_like(x, np.nan)))
    for wrong in (None, (0.5, 0.5, 0.5), (np.nan, 0.5, 0.5), (np.inf, -np.inf, 1.0), (-0.5, 0.5, 1.0)):
        score, away = one(wrong, x)
        assert (isnan(score), away) == (True, good[1])
    assert one(p, x) == good


@pytest.mark.parametrize(
    ("cells", "gate_cells", "pool", "problem"),
    [(49, 49, POOLS[1], "score: sees 49"), (0, 49, None, "no pool"), (4, 49, POOLS[1], "gate: sees 49")],
)
def test_what_does_not_fit_together_is_refused(cells: int, gate_cells: int, pool: Pool | None, problem: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=problem):
        forward(network(rng, 3, cells, [1]), gate_of(rng, gate_cells), pool)


def test_a_network_needs_two_classes() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="classes"):
        forward(network(rng, 1, 0, [1]), None, None)
