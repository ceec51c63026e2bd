"""Reads a source without its thread, as a feed would that refuses what a test says."""

from collections.abc import Callable
from typing import Any

from edge_agent.sources.feed import IDLE, Bad, Sample


def look(items: Any, looks: int = 2, *, refuse: Callable[[Sample], bool] = lambda _: False) -> list[Sample | Bad]:
    """All readings until the source has said so many times that there is nothing yet; two looks find what is new."""
    seen: list[Sample | Bad] = []
    verdict: str | None = None
    while looks > 0:
        item = items.send(verdict)
        verdict = None
        if item is IDLE:
            looks -= 1
        else:
            seen.append(item)
            verdict = "refused" if isinstance(item, Bad) or refuse(item) else None
    return seen


def ids(items: list[Sample | Bad]) -> list[str]:
    """The ids of samples without the time of their file, and where bad readings stand, behind a `!`."""
    return [f"!{item.where}" if isinstance(item, Bad) else item.sample_id.rpartition("@")[0] for item in items]
