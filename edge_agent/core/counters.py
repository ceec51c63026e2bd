"""What a job counts, in memory: a report carries it to the hub once in a heartbeat."""

from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Counters:
    """What one job did since the agent's start. `all` counts inferences, `hard` those that were sent on.

    `unsent` were hard but found no room on the disk; `skipped` are readings that newer ones overtook unseen;
    `bad_readings` of a source were no samples; `source_stops` is how often it raised, ended or fell silent.
    `refused` are readings of other apps that could not be used, or came faster than they may.
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
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, *, offload: bool, kept: bool) -> None:
        """Count one sample; `kept` says that there was room to store it for the hub."""
        self.all += 1
        self.hard += kept
        self.unsent += offload and not kept
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def figures(self) -> dict[str, float]:
        """As a report carries them."""
        own = {item.name: float(getattr(self, item.name)) for item in fields(self) if item.name != "reasons"}
        return own | {f"reason.{reason}": float(number) for reason, number in self.reasons.items()}
