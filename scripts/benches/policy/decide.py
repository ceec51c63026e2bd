"""What one decision costs, beside a bare softmax."""

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np

from edge_agent.policies.limits import Moment
from edge_agent.policies.offload import Offload
from messages.offload import features
from messages.offload.shapes import Gate, Layer, Network, OffloadPolicy, Pool, Terms
from messages.shapes import Classes, Tensor
from messages.tensors import pack
from scripts.benches import Plan, Row

CLASSES: Final = 10
CELLS: Final = 49
UNITS: Final = 48
CALLS: Final = 20_000

_Sample = tuple[Classes, np.ndarray, np.ndarray]


def decide(plan: Plan) -> Iterator[Row]:
    """A decision with what calibration ships: a network of 48 units that sees 49 cells, and a gate.

    The median has the budget; the 99th percentile, and the mean in time of the processor, say what it leaves out, such
    as the look for a change that every 32nd sample brings.
    """
    rng = np.random.default_rng(plan.seed)
    offload = Offload()
    offload.adopt(_policy(rng))
    probs = rng.dirichlet(np.full(CLASSES, 0.3), size=500)
    samples = [
        (Classes(probs=tuple(p.tolist())), rng.random((28, 28), np.float32), np.log(p + 1e-6).astype(np.float32))
        for p in probs
    ]
    ours, bare = [], []
    for value, x, logits in islice(cycle(samples), CALLS):
        begin = perf_counter()
        offload.decide(value, x, Moment())
        middle = perf_counter()
        _softmax(logits)
        bare.append(perf_counter() - middle)
        ours.append(middle - begin)
    about: dict[str, Any] = {
        "area": "policy", "unit": "us", "better": "lower", "seed": plan.seed, "runs": 1,
        "data": f"random digits of 28x28, {CALLS:,} decisions in turn with the baseline",
        "baseline": "a NumPy softmax of 10 logits",
    }  # fmt: skip
    beside: dict[str, Any] = {"value": median(ours) * 1e6, "baseline_value": median(bare) * 1e6}
    yield Row(name="decide/p50", budget=30.0, budget_of="value", **about, **beside)
    yield Row(name="decide/softmaxes", budget=6.0, **about, **beside)
    yield Row(name="decide/p99", value=_p99(ours) * 1e6, baseline_value=_p99(bare) * 1e6, **about)
    mean = _mean(lambda sample: offload.decide(sample[0], sample[1], Moment()), samples)
    bare_mean = _mean(lambda sample: _softmax(sample[2]), samples)
    yield Row(name="decide/mean", value=mean * 1e6, baseline_value=bare_mean * 1e6, **about)


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[-1]


def _mean(call: Callable[[_Sample], object], samples: list[_Sample]) -> float:
    began = process_time()
    for sample in islice(cycle(samples), CALLS):
        call(sample)
    return (process_time() - began) / CALLS


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def _policy(rng: np.random.Generator) -> OffloadPolicy:
    def tensor(*shape: int) -> Tensor:
        return pack(rng.standard_normal(shape).astype(np.float16))

    layers = (
        Layer(weights=tensor(features.width(CLASSES) + CELLS, UNITS), bias=tensor(UNITS)),
        Layer(weights=tensor(UNITS, CLASSES + 1), bias=tensor(CLASSES + 1)),
    )
    return OffloadPolicy(
        job="bench", version=1, model="bench", score=Network(classes=CLASSES, cells=CELLS, layers=layers),
        pool=Pool(shape=(28, 28), grid=(7, 7)), sketch=pack(np.sort(rng.standard_normal(257)).astype(np.float32)),
        gate=Gate(mean=tensor(CELLS), whiten=tensor(CELLS, CELLS), threshold=1e3, location=3.0, scale=1.0),
        terms=Terms(budget=0.2),
    )  # fmt: skip
