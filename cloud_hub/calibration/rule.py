"""Which rule the samples speak for."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cloud_hub.calibration.candidates import Fit, certainties, held_out, learners, scores_of, temperature_of
from cloud_hub.calibration.choose import Candidate, choose
from cloud_hub.calibration.gain import floor_of
from cloud_hub.calibration.rows import UNKNOWN, Rows, trusted
from messages.offload.features import Array
from messages.offload.shapes import Score

LEAST_LABELS: Final = 100
"""For a temperature, and for a floor."""

LEAST_TO_LEARN: Final = 300
"""With a label and the cloud's answer: for a learned score, and for a choice among the rules."""

LEAST_GAINS: Final = 10
"""So many samples must be known that the cloud alone gets right, or there is nothing to learn."""

UNITS: Final = 48
"""Hidden units that a network has while rules are compared."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with what it was fitted to: `rows` with labels, and `others` that pass for such.

    `scores` (n,) are of samples that the score was not fitted to; `judged` (m,) are those of them that have a label,
    and `wrong` (m,) is where the edge's class is not that.
    """

    fit: Fit
    rows: Rows
    scores: Array
    judged: Array
    wrong: Array
    floor: float | None = None
    table: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()

    def score(self, units: int) -> Score:
        """The final score, fitted to all samples."""
        return self.fit(self.rows, units)


def rule_for(rows: Rows, *, quality: bool, learn: bool, seed: int) -> Rule:
    """The rule with which most is gained by sending; for `quality`, with which most mistakes of the edge are found.

    Only certainties are compared unless it may `learn`.
    """
    if quality:
        rows = replace(rows, cloud=rows.truth)
    labelled = rows.take(rows.truth != UNKNOWN)
    known = labelled.take(labelled.cloud != UNKNOWN)
    temperature = temperature_of(labelled) if len(labelled) >= LEAST_LABELS else 1.0
    if len(known) < LEAST_TO_LEARN:
        return _margin(rows, certainties(temperature)["margin"], quality=quality)
    waiting = rows.take((rows.truth == UNKNOWN) & (rows.cloud != UNKNOWN))
    others = trusted(known, waiting)
    fits = certainties(temperature)
    if learn and (known.gain > 0.0).sum() >= LEAST_GAINS:
        fits |= learners(seed)
    scores = {name: held_out(fit, known, others, UNITS, seed) for name, fit in fits.items()}
    floors = {name: None if quality else _floor(name, score, known.gain) for name, score in scores.items()}
    table = choose(scores, known.gain, floors, seed)
    best = next(candidate.rule for candidate in table if candidate.chosen)
    return Rule(
        fits[best], known + others, scores[best], scores[best], ~known.edge_right, floors[best], table,
        (f"{len(others)} of {len(waiting)} samples without a label are believed",) if len(waiting) else (),
    )  # fmt: skip


def _margin(rows: Rows, fit: Fit, *, quality: bool) -> Rule:
    """What is left where little is known."""
    scores = scores_of(fit(rows, 0), rows)
    labelled = rows.truth != UNKNOWN
    known = labelled & (rows.cloud != UNKNOWN)
    enough = known.sum() >= LEAST_LABELS and not quality
    few = int(known.sum())
    choice = f"{few} samples have a label and the cloud's answer, a choice needs {LEAST_TO_LEARN}"
    notes = [f"the rule is the margin: {choice}: {LEAST_TO_LEARN - few} are missing"]
    if labelled.sum() < LEAST_LABELS:
        notes.append(f"no temperature: {labelled.sum()} labels, {LEAST_LABELS - labelled.sum()} are missing")
    return Rule(
        fit, rows, scores, scores[labelled], ~rows.edge_right[labelled],
        floor_of(scores[known], rows.gain[known]) if enough else None, (), tuple(notes),
    )  # fmt: skip


def _floor(name: str, scores: Array, gain: Array) -> float | None:
    """What scores up to this is never sent: an expected gain of 0, or more where even above it sending loses."""
    loses_below = floor_of(scores, gain)
    return loses_below if name in certainties(1.0) else max(0.0, -np.inf if loses_below is None else loses_below)
