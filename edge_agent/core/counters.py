"""What a job counts, in memory: a report carries it to the hub once in a heartbeat."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from edge_agent.core.exchange import Observation
from messages.shapes import Alarm


class Adaptive(Protocol):
    """A policy that has something to report beside what is counted."""

    @property
    def gauges(self) -> Mapping[str, float]:
        """Figures that may fall too."""

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The last alarms."""


@dataclass(slots=True)
class Counters:
    """What one job did since the agent's start. `all` counts inferences, `hard` those that were sent on.

    `unsent` were hard but found no room on the disk; `skipped` are readings that newer ones overtook unseen;
    `bad_readings` of a source were no samples; `source_stops` is how often it raised, ended or fell silent.
    `refused` are readings of other apps that could not be used, or came faster than they may. `audits` are those of
    `hard` that chance picked; `bytes_sent` are those of the samples themselves, as they are encoded; of `low_trust`
    the edge's answer stayed though it is doubtful.
    """

    all: int = 0
    hard: int = 0
    unsent: int = 0
    skipped: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    bad_readings: int = 0
    source_stops: int = 0
    audits: int = 0
    bytes_sent: int = 0
    low_trust: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    policy: Adaptive | None = None

    def add(self, seen: Observation, *, kept: int | None) -> None:
        """Count one sample; `kept` is how many bytes were stored for the hub, None when there was no room."""
        self.all += 1
        self.hard += kept is not None
        self.unsent += seen.offload and kept is None
        self.audits += seen.audit and kept is not None
        self.bytes_sent += kept or 0
        self.low_trust += seen.low_trust
        self.reasons[seen.reason] = self.reasons.get(seen.reason, 0) + 1

    def told(self) -> dict[str, Any]:
        """What a report says: its fields counters, gauges and alarms."""
        policy = self.policy
        gauges, alarms = ({}, ()) if policy is None else (dict(policy.gauges), policy.alarms)
        return {"counters": self._figures(), "gauges": gauges, "alarms": alarms}

    def _figures(self) -> dict[str, float]:
        own = {name: float(getattr(self, name)) for name in _COUNTED}
        return own | {f"reason.{reason}": float(number) for reason, number in self.reasons.items()}


_COUNTED = [item.name for item in fields(Counters) if item.name not in ("reasons", "policy")]
