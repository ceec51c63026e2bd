"""The rules that tell hard samples from easy ones, named and computed as in KubeEdge Sedna.

A rule never raises and never fails open: what it cannot judge (NaN, a sum that is not one, no detection at all) is
hard, and the reason says so. Each function here takes the rule's parameters and returns the rule.
"""

from collections.abc import Callable
from math import inf, isfinite, log
from random import Random
from typing import Any

from msgspec import Struct

from edge_agent.values import as_boxes, as_value
from messages.shapes import Boxes, Classes, Scalar, Value

_SUM_TOLERANCE = 0.05
"""Probabilities of an int8 model are multiples of 1/256, so ten classes may be 0.04 away from one; logits are not."""

_P_TOLERANCE = 1e-6


class Decision(Struct, frozen=True):
    """What to do with a sample. `rank` orders the samples that are sent: larger is worth more, from 0 to 1.

    `audit`: it belongs to the share that chance alone picks. `low_trust`: the edge's answer is doubtful, and stays.
    """

    offload: bool
    reason: str
    rank: float
    audit: bool = False
    low_trust: bool = False


Policy = Callable[[Value], Decision]

INVALID = Decision(True, "invalid", 1.0)
_NO_BOXES = Decision(True, "no boxes", 1.0)
_NO_CONFIDENCE = Decision(True, "no confidence", 1.0)


def cross_entropy(threshold_cross_entropy: float | str = 0.5) -> Policy:
    """Hard when 1 - entropy / log(classes) is below the threshold. One class is certain.

    Results that are no class probabilities are judged by their confidence.
    """
    limit = _number(threshold_cross_entropy, "threshold_cross_entropy")

    def decide(value: Any) -> Decision:
        result = _read(value, as_value)
        if isinstance(result, Classes):
            return _judge(_certainty(result.probs), limit, "entropy")
        return _by_confidence(result, limit)

    return decide


def threshold(threshold: float | str = 0.5) -> Policy:
    """Hard when the mean score of the boxes, the highest probability, or the confidence is below the threshold."""
    limit = _number(threshold, "threshold")

    def decide(value: Any) -> Decision:
        return _by_confidence(_read(value, _boxes_or_value), limit)

    return decide


def ibt(threshold_img: float | str = 0.5, threshold_box: float | str = 0.5) -> Policy:
    """Hard when at least 1 - threshold_img of an image's boxes score no more than threshold_box.

    Results that are no boxes are judged by their confidence, as if it were the score of one box.
    """
    image, box = _number(threshold_img, "threshold_img"), _number(threshold_box, "threshold_box")

    def decide(value: Any) -> Decision:
        scores = _scores(_read(value, _boxes_or_value))
        if isinstance(scores, Decision):
            return scores
        share = sum(score <= box for score in scores) / len(scores)
        rank = 1.0 - sum(scores) / len(scores)
        return Decision(True, "low boxes", rank) if share >= 1.0 - image else Decision(False, "easy", rank)

    return decide


def random(random_ratio: float | str = 0.3, seed: int | str | None = None) -> Policy:
    """Hard by chance, this share of all; a seed makes the chances repeat. What else is known only gives the rank."""
    ratio, chance = _number(random_ratio, "random_ratio"), Random(seed)

    def decide(value: Any) -> Decision:
        rank = _by_confidence(_read(value, _boxes_or_value), 0.0).rank
        return Decision(True, "random", rank) if chance.random() < ratio else Decision(False, "easy", rank)

    return decide


def cloud_only() -> Policy:
    """Every sample goes to the hub, the least certain first where the link is scarce."""

    def decide(value: Any) -> Decision:
        return Decision(True, "cloud only", _by_confidence(_read(value, _boxes_or_value), 0.0).rank)

    return decide


def edge_only() -> Policy:
    """No sample leaves the device."""

    def decide(value: Any) -> Decision:  # noqa: ARG001  # the rule is the same for all
        return Decision(False, "edge only", 0.0)

    return decide


RULES: dict[str, Callable[..., Policy]] = {
    "cross_entropy": cross_entropy,
    "threshold": threshold,
    "ibt": ibt,
    "random": random,
    "cloud_only": cloud_only,
    "edge_only": edge_only,
}
"""The rules by the names that a config may use."""

SEDNA = {
    "CrossEntropy": "cross_entropy",
    "Threshold": "threshold",
    "IBT": "ibt",
    "Random": "random",
    "CloudOnly": "cloud_only",
    "EdgeOnly": "edge_only",
}
"""The same rules by the names of Sedna's registry."""

BLIND = ("random", "cloud_only", "edge_only")
"""The rules that can decide before the edge model runs."""


def readable(value: Any) -> Value | None:
    """A result as one of our shapes, also where it is an array or lists; None when it is nothing of the kind."""
    return _read(value, _boxes_or_value)


def _judge(confidence: float, limit: float, reason: str) -> Decision:
    """`confidence` is in [0, 1], or not finite when the result was none."""
    if not isfinite(confidence):
        return INVALID
    return Decision(True, reason, 1.0 - confidence) if confidence < limit else Decision(False, "easy", 1.0 - confidence)


def _by_confidence(value: Value | None, limit: float) -> Decision:
    scores = _scores(value)
    return scores if isinstance(scores, Decision) else _judge(sum(scores) / len(scores), limit, "low score")


def _scores(value: Value | None) -> list[float] | Decision:
    """The scores of an image's boxes, or the one confidence of another result; the decision where there is none."""
    if isinstance(value, Boxes):
        scores = [_checked(box.score) for box in value.boxes]
    elif isinstance(value, Classes):
        scores = [_top(value.probs)]
    elif value is None or (isinstance(value, Scalar) and not isfinite(value.scalar)):
        return INVALID
    elif value.confidence is None:
        return _NO_CONFIDENCE
    else:
        scores = [_checked(value.confidence)]
    if not scores:
        return _NO_BOXES
    return INVALID if inf in scores else scores


def _certainty(probs: tuple[float, ...]) -> float:
    """1 - normalised entropy; infinity for what are no probabilities. 0 * log 0 is 0, as its limit is."""
    total = entropy = 0.0
    for p in probs:
        if p > 0.0:
            entropy -= p * log(p)
        elif not p >= -_P_TOLERANCE:
            return inf
        total += p
    if not abs(total - 1.0) <= _SUM_TOLERANCE or max(probs) > 1.0 + _P_TOLERANCE:
        return inf
    return 1.0 if len(probs) == 1 else min(1.0, max(0.0, 1.0 - entropy / log(len(probs))))


def _top(probs: tuple[float, ...]) -> float:
    return inf if _certainty(probs) == inf else min(1.0, max(probs))


def _checked(score: float) -> float:
    """The score itself, or infinity when it is none."""
    return min(1.0, max(0.0, score)) if -_P_TOLERANCE <= score <= 1.0 + _P_TOLERANCE else inf


def _read(value: Any, convert: Callable[[Any], Value]) -> Value | None:
    """A policy may be given an array or lists too; None when they cannot be read."""
    if isinstance(value, Value):
        return value
    try:
        return convert(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _boxes_or_value(raw: Any) -> Value:
    nested = getattr(raw, "ndim", 0) == 2 or (isinstance(raw, list | tuple) and all(map(_is_nested, raw)))
    return as_boxes(raw) if nested else as_value(raw)


def _is_nested(item: object) -> bool:
    return isinstance(item, list | tuple) or getattr(item, "ndim", 0) == 1


def _number(given: float | str, name: str) -> float:
    """Parameters may be text, as in Sedna's YAML. Raises ValueError that names the parameter."""
    try:
        number = float(given)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {given!r}: give a number from 0 to 1") from None
    if isinstance(given, bool) or not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} is {given!r}: give a number from 0 to 1")
    return number
