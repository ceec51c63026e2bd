"""Re-calibration: when there is enough news for the offload policy of a job to be fitted again, and what came of it."""

from msgspec import Struct


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fit again after so many new audits or labels, whichever comes first; 0: never for that reason."""

    audits: int = 0
    labels: int = 0

    def __post_init__(self) -> None:
        if min(self.audits, self.labels) < 0 or not max(self.audits, self.labels):
            raise ValueError("say audits or labels: how many new ones it takes")


class News(Struct, frozen=True):
    """Answered audits and labels that came since the last fit."""

    audits: int
    labels: int


class Calibrated(Struct, frozen=True, tag=True):
    """A job's event: a policy was fitted for a node ("": all), and set unless `kept` says why the old one stays."""

    node: str
    version: int
    samples: int
    labels: int
    rule: str
    kept: str = ""


def due(news: News, spec: Spec) -> str:
    """Why it is time to fit again; empty when it is not."""
    enough = [
        f"{number} new {name}"
        for name, number, wanted in (("audits", news.audits, spec.audits), ("labels", news.labels, spec.labels))
        if 0 < wanted <= number
    ]
    return " and ".join(enough)
