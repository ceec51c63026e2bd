"""The offload policy: each sample has its reason, the budget holds for any stream, and doubt is said aloud."""

from collections import Counter
from math import inf, nan
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec import structs

from edge_agent.policies.limits import Moment
from edge_agent.policies.offload import Offload
from edge_agent.policies.rules import Decision
from messages.offload import features
from messages.offload.shapes import Layer, Network, OffloadPolicy, Promise, Terms
from messages.shapes import Boxes, Classes, Scalar, Text
from messages.tensors import pack
from tests.support.offloads import FAR, NEAR, fitted, offload, scored, share, stream


def evenly(number: int, seed: int = 0) -> list[float]:
    return [float(score) for score in np.random.default_rng(seed).uniform(0.1, 0.9, number)]


def one(policy: Offload, value: Any, x: Any = NEAR, **moment: Any) -> Decision:
    return policy.decide(value, x, Moment(**moment))


NIGHT = "22:00-06:00"
EASY, HARD = scored(0.2), scored(0.89)


@pytest.mark.parametrize(
    ("policy", "value", "x", "moment", "expected"),
    [
        (offload(fitted(), budget=0.2), EASY, NEAR, {}, (False, "easy", False)),
        (offload(fitted(), budget=0.2), HARD, NEAR, {}, (True, "hard", False)),
        (offload(fitted(gate=True), budget=0.2), EASY, FAR, {}, (True, "shifted", False)),
        (offload(fitted(gate=True), budget=0.0), EASY, FAR, {}, (False, "over budget", True)),
        (offload(fitted(gate=True), budget=0.2), EASY, np.array([nan], np.float32), {}, (True, "shifted", False)),
        (offload(fitted(), budget=0.0), HARD, NEAR, {}, (False, "easy", False)),
        (offload(fitted(floor=0.5), budget=1.0), scored(0.49), NEAR, {}, (False, "easy", False)),
        (offload(fitted(floor=0.5), budget=1.0), scored(0.51), NEAR, {}, (True, "hard", False)),
        (offload(fitted(), budget=0.2), Boxes(boxes=()), NEAR, {}, (True, "no boxes", False)),
        (offload(fitted(), budget=0.0), Boxes(boxes=()), NEAR, {}, (False, "over budget", True)),
        (offload(fitted(), budget=0.2), Scalar(scalar=1.0), NEAR, {}, (True, "no confidence", False)),
        (offload(fitted(), budget=0.2), Text(text="a", confidence=0.15), NEAR, {}, (True, "hard", False)),
        (offload(fitted(), budget=0.2), Classes(probs=(1.0,)), NEAR, {}, (True, "one class", False)),
        (offload(fitted(), budget=0.2), Classes(probs=(nan, 1.0)), NEAR, {}, (True, "invalid", False)),
        (offload(fitted(), budget=0.2, offline="skip"), HARD, NEAR, {"linked": False}, (False, "link down", False)),
        (offload(fitted(), budget=0.2), HARD, NEAR, {"linked": False}, (True, "hard", False)),
        (offload(fitted(), budget=0.2, window=NIGHT), HARD, NEAR, {"at": 43_200_000}, (False, "link down", False)),
        (offload(fitted(), budget=0.2, window=NIGHT), HARD, NEAR, {"at": 3_600_000}, (True, "hard", False)),
        (offload(fitted(), quality=0.9), EASY, NEAR, {}, (True, "hard", False)),
        (offload(fitted(), bytes=1000), HARD, NEAR, {"size": 100}, (False, "over budget", False)),
    ],
)  # fmt: skip
def test_every_decision_has_its_reason(policy: Offload, value, x, moment: dict[str, Any], expected) -> None:
    decision = one(policy, value, x, **moment)
    assert (decision.offload, decision.reason, decision.low_trust) == expected


def test_audits_are_a_share_of_all_samples_whatever_else_is_decided() -> None:
    decisions = stream(offload(fitted(), budget=0.3, audit=0.1), evenly(5000))
    audits = [decision for decision in decisions if decision.audit]
    assert 0.085 < len(audits) / 5000 < 0.115
    assert Counter(decision.reason for decision in audits)["audit"] == pytest.approx(0.7 * len(audits), rel=0.15)
    assert share(decisions) == pytest.approx(0.3, abs=0.01)


def test_a_small_budget_lowers_the_share_of_audits() -> None:
    decisions = stream(offload(fitted(), budget=0.02, audit=0.5), evenly(5000))
    assert share(decisions) <= 0.02 + 20 / 5000
    assert 0.005 < sum(decision.audit for decision in decisions) / 5000 < 0.015


@pytest.mark.parametrize("policy", [fitted(gate=True), OffloadPolicy(job="digits", version=1)])
def test_a_budget_of_nothing_sends_nothing_and_one_of_all_sends_all(policy: OffloadPolicy) -> None:
    scores = [*evenly(300), *[0.0] * 100, *[1.0] * 100]
    for x in (NEAR, FAR):
        assert share(stream(offload(policy, budget=0.0, audit=0.5), scores, x)) == 0.0
        assert share(stream(offload(policy, budget=1.0, audit=0.01), scores, x)) == 1.0
        assert share(stream(offload(policy, budget=1.0, burst=1), scores, x)) == 1.0


@pytest.mark.parametrize("score", [0.0, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("policy", [fitted(), None])
@pytest.mark.parametrize("budget", [0.05, 0.2, 0.7])
def test_equal_scores_are_sent_in_their_share(score: float, policy: OffloadPolicy | None, budget: float) -> None:
    decisions = stream(offload(policy, budget=budget), [score] * 4000)
    assert share(decisions[1000:]) == pytest.approx(budget, abs=0.02)


STREAMS = st.lists(st.tuples(st.floats(0.0, 1.0), st.sampled_from(["", "far", "bad"])), min_size=1, max_size=60)


@settings(max_examples=60)
@given(STREAMS, st.floats(0.0, 1.0), st.integers(1, 40), st.floats(0.0, 1.0), st.integers(1, 20))
def test_no_stream_gets_more_than_the_budget_and_a_burst(kinds, budget, burst, audit, times) -> None:
    policy = offload(fitted(gate=True), budget=budget, burst=burst, audit=audit, seed=times)
    sent = 0
    for number, (score, kind) in enumerate(kinds * times, 1):
        value = Classes(probs=()) if kind == "bad" else scored(score)
        sent += one(policy, value, FAR if kind == "far" else NEAR).offload
        assert sent <= burst + budget * number + 1e-6


@pytest.mark.parametrize("fit", [True, False])
def test_the_share_is_the_budget_while_the_world_and_the_budget_change(fit: bool) -> None:
    rng, policy = np.random.default_rng(3), offload(budget=0.2)
    for low, high, budget in ((0.1, 0.9, 0.2), (0.5, 1.0, 0.2), (0.5, 1.0, 0.05), (0.1, 0.9, 0.4), (0.0, 0.6, 0.2)):
        changes: dict[str, Any] = {"terms": Terms(budget=budget)} | ({} if fit else {"sketch": None})
        policy.adopt(fitted(**changes))
        assert policy.gauges == {"budget": budget}
        decisions = stream(policy, rng.uniform(low, high, 1000).tolist())
        assert share(decisions) == pytest.approx(budget, abs=0.02)


def test_what_is_sent_is_the_hardest() -> None:
    scores = evenly(4000)
    sent = [score for score, d in zip(scores, stream(offload(budget=0.2), scores), strict=True) if d.offload]
    assert np.mean(sent[200:]) > 0.80  # the mean of the top fifth is 0.82, of all 0.5


def test_a_floor_makes_the_budget_a_ceiling_and_leaves_the_limit_where_it_was() -> None:
    policy = offload(fitted(floor=0.8), budget=0.5)
    assert share(stream(policy, evenly(2000))) == pytest.approx(0.125, abs=0.02)
    assert share(stream(policy, [0.85] * 40)) >= 0.5
    policy = offload(fitted(floor=0.95), budget=0.5)
    assert share(stream(policy, evenly(1000))) == 0.0


def test_only_another_budget_moves_the_limit_at_once() -> None:
    policy = offload(fitted(), budget=0.2)
    stream(policy, evenly(500))
    before = policy._limits.controller.limit
    policy.adopt(fitted(version=2, terms=Terms(budget=0.2, burst=5)))
    assert policy._limits.controller.limit == before
    policy.adopt(fitted(version=3, terms=Terms(budget=0.05)))
    assert policy._limits.controller.limit == 0.95


def test_a_promise_sends_what_scores_above_it_and_says_what_it_could_not_send() -> None:
    promise = Promise(score=0.5, error=0.05, confidence=0.95, labels=300)
    policy = offload(fitted(promise=promise), quality=0.95, bytes=10_000, per_s=10.0)
    assert one(policy, scored(0.5)).reason == "easy"
    assert one(policy, scored(0.51), now=20.0, size=10).offload
    held = one(policy, scored(0.51), now=20.0, size=9000)
    assert (held.offload, held.reason, held.low_trust) == (False, "over budget", True)
    assert policy.take_news() == [
        "quality = 0.95: a calibration with labels is missing; all samples are sent till then"
    ]


def shifted(**terms: Any) -> tuple[Offload, list[Decision]]:
    policy = offload(fitted(gate=True), budget=0.1, **terms)
    rng = np.random.default_rng(5)
    near = [one(policy, scored(s), rng.normal(size=1).astype("float32"), at=i) for i, s in enumerate(evenly(1000))]
    assert share(near) == pytest.approx(0.1, abs=0.02)
    assert not policy.alarms
    return policy, stream(policy, evenly(300), FAR)


def test_a_hard_budget_holds_while_the_world_has_shifted_and_says_so_once() -> None:
    policy, far = shifted()
    assert share(far) <= 0.1 + 20 / 300
    assert all(decision.low_trust for decision in far if not decision.offload)
    assert {decision.reason for decision in far} == {"shifted", "over budget"}
    assert [(alarm.number, alarm.kind, alarm.until) for alarm in policy.alarms] == [
        (1, "shift", 0),
        (2, "over budget", 0),
    ]
    assert len(policy.take_news()) == 2
    assert policy.alarms[0].at <= 1030
    stream(policy, evenly(200))
    assert all(alarm.until > alarm.at for alarm in policy.alarms)
    assert policy.take_news() == ["alarm 1, shift: over", "alarm 2, over budget: over"]
    assert share(stream(policy, evenly(1000, seed=9))) == pytest.approx(0.1, abs=0.02)


def test_an_emergency_sends_what_has_shifted_and_nothing_else() -> None:
    policy, far = shifted(emergency=1.0)
    assert share(far[30:]) == 1.0
    assert share(stream(policy, evenly(45))) <= 0.1 + 20 / 45
    policy, far = shifted(emergency=0.5)
    assert share(far[60:]) == pytest.approx(0.5, abs=0.05)


def test_while_an_alarm_holds_what_is_nearer_to_the_new_world_is_shifted_too() -> None:
    policy = offload(fitted(gate=True), budget=0.1, emergency=1.0)
    rng = np.random.default_rng(6)
    for i, score in enumerate(evenly(1000)):
        one(policy, scored(score), rng.normal(size=1).astype("float32"), at=i)
    near = np.array([2.9], np.float32)  # within the gate, but no sample of calibration is always so far away
    far = stream(policy, evenly(200), near)
    assert share(far[100:]) == 1.0
    assert {decision.reason for decision in far[100:]} == {"shifted"}


def test_a_gate_that_changes_ends_the_alarm() -> None:
    policy, _ = shifted()
    policy.adopt(fitted())
    stream(policy, [0.3])
    assert all(alarm.until for alarm in policy.alarms)


def test_ranks_that_rise_are_an_alarm_where_there_is_no_gate() -> None:
    policy = offload(fitted(), budget=0.1)
    stream(policy, evenly(1000))
    assert not policy.alarms
    stream(policy, [0.95] * 100)
    assert [alarm.kind for alarm in policy.alarms] == ["shift"]


def test_only_the_last_alarms_are_kept() -> None:
    policy, _ = shifted()
    for _ in range(6):
        stream(policy, evenly(300))
        stream(policy, evenly(100), FAR)
    numbers = [alarm.number for alarm in policy.alarms]
    assert len(numbers) == 8
    assert numbers == list(range(numbers[0], numbers[0] + 8))


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (fitted(sketch=pack(np.array([0.2, 0.1], np.float32))), "sketch"),
        (fitted(sketch=pack(np.zeros((2, 2), np.float32))), "sketch"),
        (structs.replace(fitted(gate=True), pool=None), "pool"),
        (fitted(terms=Terms()), "budget"),
        (fitted(terms=Terms(budget=0.1, quality=0.9)), "quality"),
        (fitted(terms=Terms(budget=0.1, window="late")), "window"),
        (fitted(score=Network(classes=2, cells=3, layers=())), "layers"),
    ],
)  # fmt: skip
def test_a_policy_that_does_not_fit_is_refused_and_the_old_one_stays(policy: OffloadPolicy, problem: str) -> None:
    ours = offload(fitted(), budget=0.2)
    with pytest.raises(ValueError, match=problem):
        ours.adopt(policy)
    assert problem in ours.objection(policy)
    assert ours.policy == fitted()
    assert one(ours, HARD).reason == "hard"


def network() -> OffloadPolicy:
    """A learned score of three classes and the one pooled number, with a gate."""
    rng, inputs = np.random.default_rng(0), features.width(3) + 1
    layer = Layer(weights=pack(rng.normal(size=(inputs, 1)).astype("float32")), bias=pack(np.zeros(1, "float32")))
    return fitted(gate=True, score=Network(classes=3, cells=1, layers=(layer,)))


NUMBERS = st.floats(width=32)
PROBS = st.one_of(
    st.lists(NUMBERS, max_size=5),
    arrays(np.float32, st.integers(0, 5), elements=NUMBERS),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5).map(lambda p: Classes(probs=tuple(p))),
    st.builds(Scalar, scalar=NUMBERS, confidence=st.none() | NUMBERS),
    st.sampled_from([None, "", object(), [[]], [["a"]], np.zeros((2, 2, 2)), Boxes(boxes=())]),
)
SAMPLES = st.one_of(
    arrays(np.float64, 1, elements=st.floats()),
    arrays(np.uint8, 1),
    st.sampled_from([None, "x", np.zeros(3), np.array(["a"]), np.array([inf], np.float32), np.array([1e300])]),
)
RUNNING = [offload(policy, budget=1.0) for policy in (fitted(gate=True), network(), None)]


@pytest.mark.filterwarnings("error")
@given(PROBS, SAMPLES)
def test_whatever_comes_there_is_a_decision_and_nothing_bad_is_easy(value, x) -> None:
    for policy in RUNNING:
        decision = one(policy, value, x)
        assert decision.offload
        assert 0.0 <= decision.rank <= 1.0


@given(PROBS)
def test_what_cannot_be_judged_is_never_easy_even_with_a_small_budget(value) -> None:
    seen = features.read(value) if isinstance(value, Classes | Scalar) else ""
    decision = one(offload(fitted(), budget=0.0), value)
    assert not decision.offload
    if isinstance(seen, str) and seen:
        assert (decision.reason, decision.low_trust) == ("over budget", True)


def test_a_network_sees_only_as_many_classes_as_it_was_fitted_for() -> None:
    policy = offload(network(), budget=1.0)
    assert one(policy, Classes(probs=(0.5, 0.5))).reason == "invalid"
    assert one(policy, Scalar(scalar=1.0, confidence=0.9)).reason == "invalid"
    decision = one(policy, Classes(probs=(0.5, 0.4, 0.1)), NEAR)
    assert decision.reason == "hard"
    assert one(policy, [0.5, 0.4, 0.1], NEAR) == one(policy, np.array([0.5, 0.4, 0.1]), NEAR) == decision


def test_the_same_seed_decides_alike() -> None:
    scores = [Random(7).random() for _ in range(500)]
    first, second = (stream(offload(budget=0.2, audit=0.1, seed=3), scores) for _ in range(2))
    assert first == second
