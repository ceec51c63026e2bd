"""The database's thread: cores and database run here and nowhere else, one turn after the other.

A turn takes in whatever arrived while the last one was committing, and commits once: group commit by itself, large
under load and small when it is quiet. What it returns is published afterwards, by the event loop.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloud_hub.config import Limits
from cloud_hub.ingest.core import HubCore
from cloud_hub.ingest.exchange import Arrival, Output
from cloud_hub.store.database import HubDatabase
from messages import channels
from messages.bus.protocol import Incoming
from messages.delivery.store import StoreFull
from messages.host.clock import Clock

Step = Callable[[float, int], Output]
"""Something other than a message that the core must hear of, at (run time in seconds, wall clock in ms)."""

IDLE_S: Final = 1.0
"""A quiet hub looks this often at who fell silent, and waits this long after a turn that found no room."""

TIDY_S: Final = 60.0
TIDY_ROWS: Final = 2_000


@dataclass(slots=True)
class Done:
    """What a turn leaves to do: publish and predict, come back at `wake` (run time); `full` says what has no room."""

    out: Output
    wake: float
    full: str = ""
    again: Sequence[Step] = field(default_factory=tuple)
    """Steps that found no room and must happen."""


class Turns:
    """Runs turns. `folder` is where the database lies; its disk keeps `limits.disk_reserve` bytes free."""

    def __init__(self, store: HubDatabase, core: HubCore, clock: Clock, *, folder: Path, limits: Limits) -> None:
        self._store = store
        self._core = core
        self._clock = clock
        self._folder = folder
        self._limits = limits
        self._tick = 0.0
        self._tidy = 0.0

    def start(self) -> Done:
        """The first turn: read what an earlier process left."""
        return self.turn((), (self._core.start,))

    def turn(self, arrivals: Sequence[Incoming], steps: Sequence[Step]) -> Done:
        """Take in what arrived and what happened, in one transaction."""
        now, at = self._clock.now(), self._clock.at()
        out = Output()
        given = [Arrival(item.topic, item.payload, item.retained) for item in arrivals]
        full = "" if self._room() else f"less than {self._limits.disk_reserve} bytes are free in {self._folder}"
        taken, refused = _sorted(given) if full else (given, [])
        try:
            with self._store.transaction():
                for step in steps:
                    _add(out, step(now, at))
                if taken:
                    _add(out, self._core.receive(taken, now, at))
                self._keep_time(out, now, at)
        except StoreFull as error:
            self._core.reload()
            self._tick = now + IDLE_S
            return Done(self._core.refuse(given, str(error), at), self._tick, str(error), tuple(steps))
        if refused:
            _add(out, self._core.refuse(refused, full, at))
        return Done(out, self._wake(now), full)

    def _keep_time(self, out: Output, now: float, at: int) -> None:
        if now >= self._tick:
            _add(out, self._core.tick(now, at))
        if now >= self._tidy and self._limits.age_s > 0.0:
            whole = self._store.drop_older(now, self._limits.age_s, TIDY_ROWS) < TIDY_ROWS
            self._tidy = now + (max(IDLE_S, min(TIDY_S, self._limits.age_s)) if whole else IDLE_S)

    def _wake(self, now: float) -> float:
        wake = self._core.wake_at()
        later = now + IDLE_S
        self._tick = min(wake, later) if wake is not None else later
        return self._tick

    def _room(self) -> bool:
        return shutil.disk_usage(self._folder).free >= self._limits.disk_reserve


def _add(out: Output, more: Output) -> None:
    out.posts += more.posts
    out.predictions += more.predictions
    out.notes += more.notes
    out.needed += more.needed
    out.spent += more.spent


def _sorted(arrivals: Sequence[Arrival]) -> tuple[list[Arrival], list[Arrival]]:
    """What is taken in even when there is little room, because it makes room or is small; and what has to wait."""
    taken: list[Arrival] = []
    refused: list[Arrival] = []
    for arrival in arrivals:
        (refused if arrival.topic.endswith(_LARGE) else taken).append(arrival)
    return taken, refused


_LARGE: Final = tuple(f"/{path}" for path, channel in channels.CHANNELS.items() if channel.reliable)
