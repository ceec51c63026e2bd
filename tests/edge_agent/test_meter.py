"""A metered link: never more bytes than were named, and samples become rarer as they become bigger."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policies.limits import Moment
from edge_agent.policies.meter import Hours, Meter
from edge_agent.policies.offload import Offload
from tests.support.offloads import NEAR, offload, scored

BYTES, PER_S = 100_000, 3600.0


def hours(policy: Offload, size: int, number: int = 6, *, beat: int = 200, overhead: int = 200) -> Iterator[Any]:
    """A sample a second, and a beat each minute; what is sent costs an overhead. Yields (now, score, spent)."""
    exchanged, rng = 0, np.random.default_rng(1)
    for second in range(round(number * PER_S)):
        exchanged += beat * (second % 60 == 0)
        score = float(rng.uniform())
        moment = Moment(now=float(second), size=size, exchanged=exchanged)
        sent = policy.decide(scored(score), NEAR, moment).offload
        exchanged += sent * (size + overhead)
        yield second, score if sent else None, exchanged


def metered(**terms: Any) -> Offload:
    return offload(None, bytes=BYTES, per_s=PER_S, **terms)


def test_sends_become_rarer_as_they_become_bigger_and_are_the_hardest() -> None:
    sent = {}
    for size in (1000, 4000, 16_000):
        scores = [score for second, score, _ in hours(metered(), size) if score is not None and second > PER_S]
        sent[size] = len(scores)
        assert np.mean(scores) > 0.95
    assert sent[1000] > 3 * sent[4000] > 9 * sent[16_000] > 0


@pytest.mark.parametrize("size", [100, 1000, 30_000])
def test_in_no_hour_is_more_spent_than_was_named(size: int) -> None:
    spent = np.array([0, *(exchanged for *_, exchanged in hours(metered(), size))])
    assert spent[-1] > 2 * BYTES
    assert (spent[3600:] - spent[:-3600]).max() <= BYTES


def test_what_others_spend_leaves_less_for_samples() -> None:
    few, many = (sum(s is not None for _, s, _ in hours(metered(), 1000, beat=beat)) for beat in (1200, 100))
    assert 0 < few < 0.5 * many
    assert not any(s is not None for second, s, _ in hours(metered(), 1000, 1, beat=4000) if second > 60)


def test_the_tighter_of_budget_and_bytes_counts() -> None:
    sent = sum(s is not None for _, s, _ in hours(metered(budget=0.005), 100))
    assert sent == pytest.approx(0.005 * 6 * PER_S, rel=0.1)


def test_a_restart_finds_nothing_to_spend() -> None:
    assert not Meter(BYTES, PER_S).affords(1, 0)
    spent, rng = 0, np.random.default_rng(2)
    for _ in range(60):  # a minute each
        policy, before = metered(), spent
        for second in range(60):
            moment = Moment(now=float(second), size=500, exchanged=spent - before)
            spent += 500 * policy.decide(scored(float(rng.uniform())), NEAR, moment).offload
    assert 0 < spent <= BYTES


def test_what_waits_is_as_good_as_spent() -> None:
    meter = Meter(BYTES, PER_S)
    for second in (0.0, PER_S):
        meter.tick(second, 0, 100)
    assert meter.affords(5000, 5000)
    assert not meter.affords(5001, 5000)


@given(st.lists(st.tuples(st.floats(0.0, 1e5), st.integers(0, 10**7), st.integers(0, 10**7)), max_size=30))
def test_a_share_is_always_a_share(ticks: list[tuple[float, int, int]]) -> None:
    meter, now, exchanged = Meter(1000, 60.0), 0.0, 0
    for passed, spent, size in ticks:
        now, exchanged = now + passed, exchanged + spent
        meter.tick(now, exchanged, size)
        assert 0.0 <= meter.share() <= 1.0


@pytest.mark.parametrize(
    ("window", "minute", "open_"),
    [("", 0, True), ("22:00-06:00", 21 * 60 + 59, False), ("22:00-06:00", 22 * 60, True), ("22:00-06:00", 359, True),
     ("22:00-06:00", 360, False), ("09:30-10:00", 570, True), ("09:30-10:00", 600, False), ("00:00-24:00", 700, True)],
)  # fmt: skip
def test_a_window_is_hours_of_the_day(window: str, minute: int, open_: bool) -> None:
    assert Hours(window).are_open((20_000 * 1440 + minute) * 60_000 + 1) is open_


@pytest.mark.parametrize("window", ["22-6", "22:00", "25:00-01:00", "22:60-01:00", "a:b-c:d", "1:00-2:00-3:00"])
def test_a_window_that_is_none_is_named(window: str) -> None:
    with pytest.raises(ValueError, match="window"):
        Hours(window)
