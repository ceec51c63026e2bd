"""What a job counts, in memory: a report carries it to the hub once in a heartbeat."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What one job did since the agent's start. `all` counts inferences, `hard` those that were sent on.

    `unsent` were hard but found no room on the disk; `skipped` are readings that newer ones overtook unseen.
    """

    all: int = 0
    hard: int = 0
    unsent: int = 0
    skipped: int = 0
    answered: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """As a report carries them."""
        own = {name: float(getattr(self, name)) for name in ("all", "hard", "unsent", "skipped", "answered", "failed")}
        return own | {f"reason.{reason}": float(number) for reason, number in self.reasons.items()}
