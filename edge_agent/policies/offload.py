"""The offload policy on the device: sends what the big model helps with most, within a budget, and knows when to doubt.

A sample's score becomes a rank, an integral controller decides which ranks are hard, a token bucket bounds what may
follow each other, and the link has the last word. Beside that a gate looks for samples from another world, chance
picks some to be audited, and every decision carries its reason.
"""

from random import Random
from typing import Any, Final

from edge_agent.policies.alarms import Alarms, Shift
from edge_agent.policies.limits import Limits, Moment, Offline
from edge_agent.policies.look import Look
from edge_agent.policies.ranks import Ranks, sketch_of
from edge_agent.policies.rules import Decision
from messages.offload.shapes import OffloadPolicy, Terms
from messages.shapes import Alarm

DEFAULT: Final = Terms(budget=0.2)
"""What counts as long as neither the hub's policy nor the agent's configuration says otherwise."""

_SPREAD: Final = 12.0**0.5
"""Ranks are spread evenly: times this their standard deviation is 1."""

_OUTLYING: Final = 0.98
"""Without a gate, ranks above this count as shifted where the end of an alarm is looked for."""

_QUIET: Final = 200
"""So many samples without a shifted one that was held back, and the budget is enough again."""


class Offload:
    """Decides about one job's samples, one after the other; pure but for what it remembers of them.

    `terms` are the agent's own, which those of an adopted policy replace. Raises ValueError when they contradict each
    other.
    """

    def __init__(self, terms: Terms = DEFAULT, *, offline: Offline = "keep", random: Random | None = None) -> None:
        self.policy: OffloadPolicy | None = None
        self._own = terms
        self._offline = offline
        self._random = random or Random()
        self._alarms = Alarms()
        self._look, self._ranks, self._shift = Look(), Ranks(), Shift()
        self._limits = Limits(terms, None, offline)
        self._alarmed = False
        self._quiet = _QUIET
        self._tell()

    def adopt(self, policy: OffloadPolicy) -> None:
        """Go on with another policy. Raises ValueError that says what does not fit; then the old one stays."""
        look, sketch = Look(policy), sketch_of(policy)
        terms = self._own if policy.terms is None else policy.terms
        self._limits = Limits(terms, policy.promise, self._offline, before=self._limits)
        old, self.policy, self._look = self.policy, policy, look
        if sketch or old is None or (old.score, old.sketch, old.pool) != (policy.score, None, policy.pool):
            self._ranks = Ranks(sketch)
        if old is None or (old.gate, old.pool) != (policy.gate, policy.pool):
            self._shift = Shift()
        self._tell()

    def objection(self, policy: OffloadPolicy) -> str:
        """Why it cannot go on with a policy; empty when it can."""
        try:
            Offload(self._own, offline=self._offline).adopt(policy)
        except ValueError as error:
            return str(error)
        return ""

    @property
    def metered(self) -> bool:
        """Whether a moment must say how many bytes were exchanged and wait."""
        return self._limits.meter is not None

    @property
    def gauges(self) -> dict[str, float]:
        """The share of samples that may be sent now, as a report carries it."""
        return {"budget": self._limits.share()}

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The last alarms, oldest first."""
        return self._alarms.last

    def take_news(self) -> list[str]:
        """What a person should read, since the last call."""
        return self._alarms.take_news()

    def decide(self, value: Any, x: Any, moment: Moment) -> Decision:
        """What to do with a sample, from the edge model's result and the sample itself. Never raises."""
        limits = self._limits
        share = limits.come(moment, alarmed=self._alarmed)
        audit = self._random.random() < limits.audits(share)  # before all else, so that audits are unbiased
        problem, score, shifted, far = self._look.at(value, x)
        rank = 1.0 if problem else self._ranks.of(score)
        shift = self._shift
        if far is None:
            shift.add((rank - 0.5) * _SPREAD, shifted=rank > _OUTLYING)
        else:
            shifted = shifted or far > shift.limit
            shift.add(far, shifted=shifted)
        if shift.holds != self._alarmed or self._quiet < _QUIET:
            self._watch(moment.at)
        urgent = shifted or bool(problem)
        wanted = urgent or limits.wants(score, rank, share)
        hard = urgent or (wanted and not self._is_low(score))
        if not (hard or audit):
            if not wanted:  # else the floor holds it back
                limits.leave(share)
            return Decision(False, "easy", rank)
        alarmed = self._alarmed and shifted
        held = limits.hold(moment, share, urgent=urgent, audit=audit, alarmed=alarmed)
        if held:
            if alarmed:
                self._doubt(moment.at)
            return Decision(False, held if hard else "easy", rank, low_trust=urgent or (hard and limits.promises))
        why = problem or ("shifted" if shifted else "hard" if hard else "audit")
        return Decision(True, why, 1.0 if urgent else rank, audit=audit)

    def _is_low(self, score: float) -> bool:
        floor = None if self.policy is None else self.policy.floor
        return floor is not None and score <= floor and not self._limits.promises

    def _watch(self, at: int) -> None:
        """Raise an alarm when the world has changed, and end it when it is back."""
        held, self._alarmed = self._alarmed, self._shift.holds
        self._quiet = min(_QUIET, self._quiet + 1)
        if self._alarmed and not held:
            self._limits.emergency()
            self._alarms.begin("shift", "samples differ from those of calibration", at)
        elif held and not self._alarmed:
            self._quiet = _QUIET
            self._alarms.end("shift", at)
        if self._quiet == _QUIET:
            self._alarms.end("over budget", at)

    def _doubt(self, at: int) -> None:
        """A shifted sample was held back."""
        self._quiet = 0
        self._alarms.begin("over budget", "samples differ, and not all of them may be sent", at)

    def _tell(self) -> None:
        promise = None if self.policy is None else self.policy.promise
        quality = self._limits.terms.quality
        if quality is not None and promise is None:
            self._alarms.tell(
                f"quality = {quality:g}: a calibration with labels is missing; all samples are sent till then"
            )
