"""Whether the hub is well: what /healthz, /metrics and the log say of its parts."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Health:
    """The state of the hub's parts. Empty texts are good news; `missing` counts the workers that a job lacks."""

    database: str = ""
    broker: str = "not connected yet"
    missing: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    turns: int = 0
    deaths: dict[str, int] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line for each part."""
        workers = [f"job {job}: {number} workers are not ready" for job, number in self.missing.items()]
        broker = [f"broker: {self.broker}"] if self.broker else []
        database = [f"database: {self.database}"] if self.database else []
        return [*database, *broker, *workers]
