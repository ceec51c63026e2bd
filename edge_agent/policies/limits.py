"""How much may be sent: the terms in force, with what has been spent of them."""

from typing import Final, Literal

from msgspec import Struct

from edge_agent.policies.budget import Bucket, Controller
from edge_agent.policies.meter import Hours, Meter
from messages.offload.shapes import Promise, Terms

OVER_BUDGET: Final = "over budget"
LINK_DOWN: Final = "link down"

_HARD: Final = 0.4
"""This part of a burst is not for what is urgent."""

Offline = Literal["keep", "skip"]
"""What becomes of a hard sample while the link is down: it is kept to be sent, or the edge's answer is final."""


class Moment(Struct, frozen=True):
    """When a sample came and how the link was: run time (s), wall clock (ms), and whether the link is up.

    `size` is what the sample would have in bytes on the link; `exchanged` is what the node has sent and received since
    its start, `waiting` what waits in its outbox. These three count only where the terms name bytes.
    """

    now: float = 0.0
    at: int = 0
    linked: bool = True
    size: int = 0
    exchanged: int = 0
    waiting: int = 0

    @classmethod
    def of(cls, size: int) -> "Moment":
        """For a sample of `size` bytes, where nothing else counts."""
        return cls(size=size)


class Limits:
    """Terms and what is left of them. Made from others, it goes on with what did not change.

    Only another budget makes the controller begin anew. Raises ValueError when the terms contradict each other.
    """

    def __init__(
        self, terms: Terms, promise: Promise | None, offline: Offline, *, before: "Limits | None" = None
    ) -> None:
        self.terms = _checked(terms)
        self._hours = Hours(terms.window)
        self._skips = offline == "skip"
        self._least = None if promise is None else promise.score
        self.promises = terms.quality is not None
        old = None if before is None else before.terms
        same_link = old is not None and (old.bytes, old.per_s) == (terms.bytes, terms.per_s)
        self.meter: Meter | None = before.meter if before and same_link else _meter(terms)
        self._budget = 1.0 if terms.budget is None else terms.budget
        same_budget = old is not None and (old.budget, old.bytes is None) == (terms.budget, terms.bytes is None)
        self.controller: Controller = before.controller if before and same_budget else Controller(self.share())
        self.bucket = None if terms.budget is None else Bucket(terms.burst)
        if self.bucket and before and before.bucket:
            self.bucket.tokens = min(self.bucket.tokens, before.bucket.tokens)
        self._emergency = Bucket(terms.burst)

    def share(self) -> float:
        """The share of samples that may be sent now: the budget, or what the bytes are enough for."""
        return self._budget if self.meter is None else min(self._budget, self.meter.share())

    def audits(self, share: float) -> float:
        """The share of audits: as named, but at most half of the budget, so that something is left for what is hard."""
        return self.terms.audit if share >= 1.0 else min(self.terms.audit, 0.5 * share)

    def come(self, moment: Moment, *, alarmed: bool) -> float:
        """Another sample came, with it what it adds to the budget; the share that may be sent now."""
        if self.meter is not None:
            self.meter.tick(moment.now, moment.exchanged, moment.size)
        if self.bucket is not None:
            self.bucket.fill(self._budget)
            if alarmed:
                self._emergency.fill(max(0.0, self.terms.emergency - self._budget))
        return self._budget if self.meter is None else self.share()

    def emergency(self) -> None:
        """The world has changed: what may be sent beyond the budget is full."""
        self._emergency = Bucket(self.terms.burst)

    def wants(self, score: float, rank: float, share: float) -> bool:
        """Whether a sample is hard enough to be sent."""
        if self.promises:
            return self._least is None or score > self._least
        return self.controller.wants(rank, share)

    def leave(self, share: float) -> None:
        """A sample was easy."""
        self.controller.learn(share, sent=False)

    def hold(self, moment: Moment, share: float, *, urgent: bool, audit: bool, alarmed: bool) -> str:
        """Why a sample cannot be sent; empty when it can, and then it is charged.

        What is urgent goes whatever its rank, so it moves the controller in any case; what is only hard and held back
        does not, or the limit would fall ever lower. `alarmed`: it may use the emergency's share.
        """
        if not self._hours.are_open(moment.at) or (self._skips and not moment.linked):
            return LINK_DOWN
        if self.meter is not None and not self.meter.affords(moment.size, moment.waiting):
            self.controller.learn(share, sent=True)  # it is wanted: the limit is too low for so few bytes
            return OVER_BUDGET
        if self.bucket is not None and not self.bucket.take(spare=self._spare(urgent=urgent, audit=audit)):
            if urgent:
                self.controller.learn(share, sent=False)
            if not (alarmed and self._emergency.take()):
                return OVER_BUDGET
        else:
            self.controller.learn(share, sent=True)
        if self.meter is not None:
            self.meter.sent(moment.size)
        return ""

    def _spare(self, *, urgent: bool, audit: bool) -> float:
        """What must be left: always something for audits, and for hard ones when what is urgent comes in a flood."""
        if audit or self.terms.burst == 1:
            return 0.0
        return _HARD * self.terms.burst if urgent else 1.0


def _meter(terms: Terms) -> Meter | None:
    return None if terms.bytes is None else Meter(terms.bytes, terms.per_s)


def _checked(terms: Terms) -> Terms:
    if terms.quality is not None and terms.budget is not None:
        raise ValueError("quality and budget: name one of them; what a promise needs is what it needs")
    if terms.quality is None and terms.budget is None and terms.bytes is None:
        raise ValueError("name a budget (a share), bytes, or quality")
    return terms
