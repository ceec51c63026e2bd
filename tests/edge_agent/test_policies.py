"""The rules decide as Sedna's do where Sedna decides, and are right where Sedna crashes or fails open."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policies import Decision, cloud_only, cross_entropy, edge_only, ibt, random, threshold
from edge_agent.policies.rules import RULES, SEDNA
from messages.shapes import Box, Boxes, Classes, Scalar, Text


def boxes(*scores: float) -> Boxes:
    return Boxes(boxes=tuple(Box(corners=(0.0, 0.0, 1.0, 1.0), score=score) for score in scores))


@pytest.mark.parametrize(("probs", "hard"), [((0.9, 0.1), False), ((0.7, 0.3), True), ((1.0, 0.0), False)])
def test_cross_entropy_decides_by_normalised_entropy(probs: tuple[float, ...], hard: bool) -> None:
    decision = cross_entropy()(Classes(probs=probs))
    assert decision.offload is hard
    assert decision.reason == ("entropy" if hard else "easy")


def test_uniform_probabilities_are_worth_most() -> None:
    assert cross_entropy()(Classes(probs=(0.25,) * 4)).rank == pytest.approx(1.0)
    assert cross_entropy()(Classes(probs=(1.0, 0.0, 0.0, 0.0))).rank == 0.0


def test_one_class_is_certain_when_it_is_a_probability() -> None:
    assert not cross_entropy()(Classes(probs=(1.0,))).offload
    assert cross_entropy()(Classes(probs=(0.3,))).reason == "invalid"


@pytest.mark.parametrize(
    "probs",
    [(), (nan, 1.0), (1.0, nan), (inf, 0.0), (-inf, 1.0), (1.2, -0.2), (0.3, 0.3), (4.0, 2.0, 1.0), (-0.1, 1.1)],
)
@pytest.mark.parametrize("rule", [cross_entropy(), threshold(), cross_entropy(0.0), threshold(0.0)])
def test_what_are_no_probabilities_is_hard_whatever_the_threshold(rule, probs: tuple[float, ...]) -> None:
    assert rule(Classes(probs=probs)) == Decision(True, "invalid", 1.0)


def test_an_int8_model_need_not_sum_to_one_exactly() -> None:
    assert not cross_entropy()(Classes(probs=(250 / 256, *(1 / 256,) * 9))).offload


@pytest.mark.parametrize(
    "given_value", [np.array([0.9, 0.1]), np.array([[0.9, 0.1]], "float32"), [0.9, 0.1], (0.9, 0.1)]
)
def test_arrays_and_lists_are_taken_too(given_value) -> None:
    assert not cross_entropy()(given_value).offload


@pytest.mark.parametrize("junk", [None, "", [[]], np.zeros((2, 2, 2)), object(), [["a"]], np.array(["a", "b"])])
@pytest.mark.parametrize("rule", [cross_entropy(), threshold(), ibt(), random(1.0), cloud_only()])
def test_no_input_makes_a_rule_raise_or_fail_open(rule, junk) -> None:
    assert rule(junk).offload


def test_threshold_takes_the_mean_score_of_the_boxes() -> None:
    assert not threshold(0.5)(boxes(0.9, 0.3)).offload
    low = threshold(0.7)(boxes(0.9, 0.3))
    assert (low.offload, low.reason) == (True, "low score")
    assert low.rank == pytest.approx(0.4)
    rows: Any = [[0, 0, 1, 1, 0.9, 3]]
    assert not threshold(0.5)(rows).offload


def test_an_image_without_detections_is_hard() -> None:
    assert threshold()(boxes()) == Decision(True, "no boxes", 1.0)
    rows: Any = np.zeros((0, 6))
    assert threshold()(rows) == Decision(True, "no boxes", 1.0)
    assert cross_entropy()(boxes()) == Decision(True, "no boxes", 1.0)


@pytest.mark.parametrize("score", [nan, inf, -0.5, 1.5])
def test_a_score_that_is_none_is_hard(score: float) -> None:
    assert threshold(0.0)(boxes(0.9, score)).reason == "invalid"
    assert threshold(0.0)(Text(text="a", confidence=score)).reason == "invalid"


def test_numbers_and_text_are_judged_by_their_confidence() -> None:
    assert not threshold()(Text(text="seven", confidence=0.8)).offload
    assert threshold()(Scalar(scalar=1.0, confidence=0.2)).reason == "low score"
    assert threshold()(Scalar(scalar=1.0)).reason == "no confidence"
    assert threshold()(Scalar(scalar=nan, confidence=0.9)).reason == "invalid"


def test_cloud_only_sends_all_and_edge_only_none() -> None:
    sure, unsure = Classes(probs=(0.99, 0.01)), Classes(probs=(0.5, 0.5))
    assert cloud_only()(sure).offload
    assert cloud_only()(unsure).rank > cloud_only()(sure).rank
    assert edge_only()(unsure) == Decision(False, "edge only", 0.0)


def test_parameters_may_be_text_as_in_sednas_yaml() -> None:
    assert not cross_entropy("0.1")(Classes(probs=(0.7, 0.3))).offload


@pytest.mark.parametrize("bad", ["high", None, nan, -0.1, 1.1, True, [0.5]])
def test_a_bad_parameter_is_named(bad) -> None:
    with pytest.raises(ValueError, match=r"^threshold_cross_entropy is .*: give a number from 0 to 1$"):
        cross_entropy(bad)
    with pytest.raises(ValueError, match="^threshold is "):
        threshold(bad)
    with pytest.raises(ValueError, match="^threshold_img is "):
        ibt(bad)
    with pytest.raises(ValueError, match="^threshold_box is "):
        ibt(0.5, bad)
    with pytest.raises(ValueError, match="^random_ratio is "):
        random(bad)


@given(st.lists(st.floats(width=32), max_size=12))
def test_any_floats_give_a_decision_with_a_finite_rank(probs: list[float]) -> None:
    for rule in (cross_entropy(), threshold(), ibt(), random(), cloud_only()):
        decision = rule(Classes(probs=tuple(probs)))
        assert 0.0 <= decision.rank <= 1.0


@given(st.lists(st.floats(min_value=1e-9, max_value=1.0), min_size=2, max_size=12))
def test_cross_entropy_is_one_minus_normalised_entropy(weights: list[float]) -> None:
    probs = np.array(weights) / np.sum(weights)
    wanted = -(probs * np.log(probs)).sum() / np.log(len(probs))
    assert cross_entropy(1.0)(Classes(probs=tuple(probs.tolist()))).rank == pytest.approx(wanted, abs=1e-9)


# Sedna's formulas, worked out by hand: `ibt` counts the boxes with score <= threshold_box, and an image is hard when
# their share is >= 1 - threshold_img; `threshold` takes the mean score; `cross_entropy` takes 1 + sum(p ln p) / ln C.
IBT = [
    # threshold_img, threshold_box, scores, hard
    (0.5, 0.5, (0.9, 0.8), False),
    (0.5, 0.5, (0.9, 0.5), True),  # a score at the threshold counts: 1 of 2
    (0.5, 0.5, (0.9, 0.8, 0.2), False),  # 1 of 3
    (0.5, 0.5, (0.9, 0.3, 0.2), True),
    (0.9, 0.5, (0.9, 0.9, 0.9, 0.2), True),  # 1 of 4 >= 0.1
    (0.25, 0.5, (0.1, 0.1, 0.1, 0.9), True),  # 3 of 4 >= 0.75
    (0.2, 0.5, (0.1, 0.1, 0.1, 0.9), False),
    (1.0, 0.0, (1.0,), True),  # 0 of 1 >= 0
    (0.0, 1.0, (1.0, 0.2), True),
    (0.0, 0.9, (1.0, 0.2), False),
]


@pytest.mark.parametrize(("image", "box", "scores", "hard"), IBT)
def test_ibt_counts_the_boxes_that_score_low(image: float, box: float, scores: tuple[float, ...], hard: bool) -> None:
    decision = ibt(str(image), box)(boxes(*scores))
    assert (decision.offload, decision.reason) == (hard, "low boxes" if hard else "easy")
    assert decision.rank == pytest.approx(1.0 - sum(scores) / len(scores))


def test_ibt_never_fails_open() -> None:
    assert ibt(0.0, 0.0)(boxes()) == Decision(True, "no boxes", 1.0)
    assert ibt(0.0, 0.0)(boxes(0.9, nan)).reason == "invalid"
    assert ibt()(Scalar(scalar=1.0)).reason == "no confidence"
    assert [ibt(0.5, 0.3)(Text(text="a", confidence=c)).offload for c in (0.3, 0.31)] == [True, False]


def test_random_sends_its_share_and_a_seed_repeats_it() -> None:
    draws = [[random("0.3", seed=seed)(boxes(0.9)) for _ in range(3)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    rules = {seed: random("0.3", seed=seed) for seed in (1, 2)}
    sent = {seed: [rule(Classes(probs=(0.5, 0.5))).offload for _ in range(4000)] for seed, rule in rules.items()}
    assert sent[1] != sent[2]
    assert all(0.27 < sum(share) / 4000 < 0.33 for share in sent.values())
    assert not any(random(0.0)(boxes()).offload for _ in range(50))
    assert all(random(1)(boxes()).offload for _ in range(50))


def test_sednas_names_are_ours() -> None:
    assert {name.replace("_", "") for name in RULES} == {name.lower() for name in SEDNA}
    assert all(SEDNA[name] in RULES for name in SEDNA)
