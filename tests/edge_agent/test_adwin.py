"""Our detector of changes beside river's, which is the oracle."""

import numpy as np
import pytest
from river.drift import ADWIN

from edge_agent.policies.adwin import Adwin

CLOCK = 32


@pytest.mark.parametrize("seed", range(20))
def test_the_alarms_are_rivers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = rng.choice([0.0, 0.0, 1.0, 3.0], 5)
    values = np.concatenate([rng.normal(mean, 1.0, 600) for mean in means]).tolist()
    ours, oracle, found, wanted = Adwin(clock=CLOCK), ADWIN(clock=CLOCK), [], []
    for number, value in enumerate(values):
        if ours.add(value) is not None:
            found.append(number)
        oracle.update(value)
        if oracle.drift_detected:
            wanted.append(number)
    assert found == wanted


def test_a_change_says_how_the_mean_changed() -> None:
    detector, rng = Adwin(), np.random.default_rng(1)
    changes = [detector.add(float(rng.normal(5.0 * (i >= 1000), 1.0))) for i in range(1100)]
    ((before, after),) = [change for change in changes if change]
    assert before == pytest.approx(0.0, abs=0.3)
    assert after == pytest.approx(5.0, abs=1.0)


def test_it_looks_at_once_when_it_is_told_to() -> None:
    detector = Adwin(clock=1_000_000)
    assert not any(detector.add(0.01 * (i % 2)) for i in range(500))
    assert not any(detector.add(9.0) for _ in range(5))
    assert detector.add(9.0, now=True) is not None


def test_memory_grows_with_the_logarithm_of_the_stream() -> None:
    detector = Adwin()
    for i in range(20_000):
        detector.add(float(i % 2))
    assert sum(map(len, detector._rows)) <= 6 * 15
