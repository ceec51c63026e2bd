"""Fetching one blob from a peer that is not trusted: what to ask for, and which bytes are the blob's. Pure.

First the list of units is fetched, then the units that are missing. Nothing leaves here unless its digest is right, so
what is on disk is right too, and a restart needs no more than to look at it again.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final

from messages.blobs import units as cuts
from messages.blobs.shapes import BlobChunk, Span
from messages.blobs.units import Unit
from messages.blobs.window import Window
from messages.shapes import BlobRef

STRIKES: Final = 3
"""So often content may have a wrong digest before its source is believed no more."""

PATIENCE_S: Final = 2.0
"""A source that has nothing now is asked again after so long, then twice as late each time."""


class Stage(Enum):
    """How far a fetch is. In LISTED, its owner says by `go_on` what is there already; in WHOLE, all has come."""

    LIST = "list"
    LISTED = "listed"
    UNITS = "units"
    WHOLE = "whole"


class BadChunk(ValueError):
    """A chunk that was not asked for, or is not what it should be. The text says why."""


@dataclass(slots=True)
class _Asked:
    length: int
    at: float
    due: float
    tries: int = 1


class Fetch:
    """One blob on its way from one source; `window` is that of the source. Times are run time in seconds.

    `failed` says why it never will come from there. Raises BadList for a reference that no content can have.
    """

    def __init__(self, ref: BlobRef, window: Window) -> None:
        self.ref = ref
        self.failed = ""
        self.problem = ""
        """What the source said last, when that was not content."""
        self.units: list[Unit] = []
        """All units, once the list is there."""
        self._window = window
        self._strikes = self._misses = 0
        self._paused = 0.0
        self._asked: dict[int, _Asked] = {}
        listed = cuts.whole(ref)
        if listed is not None:
            self._list(listed)
        else:
            length = ref.units * cuts.ENTRY.size
            self.stage = Stage.LIST
            self._expect(ref.list_sha256, [Unit(0, length, bytes.fromhex(ref.list_sha256))])

    @property
    def missing(self) -> int:
        """Bytes that have not come yet, as far as is known."""
        if self.stage in (Stage.LIST, Stage.LISTED):
            return self.ref.size
        return sum(unit.length for unit in self._wanted.values())

    def go_on(self, there: Collection[int]) -> None:
        """Fetch the units whose numbers are not among these."""
        self.stage = Stage.UNITS
        self._expect(self.ref.sha256, [unit for number, unit in enumerate(self.units) if number not in there])
        self._end()

    def ask(self, now: float) -> tuple[str, list[Span]]:
        """What to ask for now, of which digest: what is overdue again, and as much new as the window allows."""
        if self.stage not in (Stage.LIST, Stage.UNITS) or self.failed or now < self._paused:
            return "", []
        self._paused = 0.0
        found = [Span(offset, asked.length) for offset, asked in self._asked.items() if asked.due <= now]
        for span in found:
            self._again(span, now)
        while self._todo and (length := self._window.length()):
            begin, end = self._todo.popleft()
            length = min(length, end - begin)
            if begin + length < end:
                self._todo.appendleft((begin + length, end))
            self._window.sent(length)
            self._asked[begin] = _Asked(length, now, now + self._window.timeout(1))
            found.append(Span(begin, length))
        return self._name, found

    def wake_at(self) -> float | None:
        """Run time at which `ask` has something to say although nothing came; None when it never has."""
        if self.stage not in (Stage.LIST, Stage.UNITS) or self.failed:
            return None
        due = min((asked.due for asked in self._asked.values()), default=None)
        return self._paused if due is None else due

    def take(self, chunk: BlobChunk, now: float) -> list[tuple[Unit, bytes]]:
        """Bytes have come: the units that they made whole. Raises BadChunk."""
        if chunk.sha256 != self._name or self.stage not in (Stage.LIST, Stage.UNITS):
            return []  # of the list, or of an earlier fetch
        if chunk.error:
            self._rest(chunk.error, now)
            return []
        asked = self._asked.get(chunk.offset)
        if asked is None:
            return []  # it was asked for twice, and came twice
        end = self._starts[-1] + self._lengths[-1]
        if not chunk.data or chunk.offset + len(chunk.data) > end:
            raise BadChunk(f"{len(chunk.data)} bytes at {chunk.offset} of {chunk.sha256[:12]}, which has {end}")
        del self._asked[chunk.offset]
        self._paused, self._misses, self.problem = 0.0, 0, ""
        self._window.took(asked.length, now - asked.at, now, tries=asked.tries)
        data = chunk.data[: asked.length]  # a late answer to an earlier question may be longer, or shorter
        if len(data) < asked.length:
            self._todo.appendleft((chunk.offset + len(data), chunk.offset + asked.length))
        return self._fill(chunk.offset, data)

    def stop(self) -> None:
        """The link is down, or nobody wants it any more: nothing is waited for."""
        for offset, asked in self._asked.items():
            self._window.dropped(asked.length)
            self._todo.appendleft((offset, offset + asked.length))
        self._asked.clear()
        self._paused = 0.0

    def _expect(self, name: str, wanted: Sequence[Unit]) -> None:
        self._name = name
        self._wanted = {unit.offset: unit for unit in wanted}
        self._starts = [unit.offset for unit in wanted]
        self._lengths = [unit.length for unit in wanted]
        self._parts: dict[int, tuple[bytearray, list[int]]] = {}
        self._todo = deque(cuts.spans(wanted))

    def _again(self, span: Span, now: float) -> None:
        asked = self._asked[span.offset]
        self._window.lost()
        asked.tries += 1
        asked.due = now + self._window.timeout(asked.tries)

    def _rest(self, error: str, now: float) -> None:
        self.stop()
        self.problem = error[:200]
        self._paused = now + min(60.0, PATIENCE_S * 2.0**self._misses)
        self._misses = min(self._misses + 1, 16)

    def _fill(self, offset: int, data: bytes) -> list[tuple[Unit, bytes]]:
        """Put bytes where they belong: they may be the end of one unit and the beginning of others."""
        done = []
        number = bisect_right(self._starts, offset) - 1
        while data:
            start, length = self._starts[number], self._lengths[number]
            piece, data = data[: start + length - offset], data[start + length - offset :]
            buffer, left = self._parts.setdefault(start, (bytearray(length), [length]))
            buffer[offset - start : offset - start + len(piece)] = piece
            left[0] -= len(piece)
            whole = self._judge(self._wanted[start]) if not left[0] else None
            if whole is not None:
                done.append((self._wanted.pop(start), whole))
            offset, number = start + length, number + 1
        self._end()
        return done

    def _judge(self, unit: Unit) -> bytes | None:
        """The unit's bytes if they are right; else it is fetched again, from a source that is believed less."""
        data = bytes(self._parts.pop(unit.offset)[0])
        if sha256(data).digest() != unit.digest:
            self._strikes += 1
            wrong = "a list of units" if self.stage is Stage.LIST else f"bytes at {unit.offset}"
            self.problem = f"blob {self.ref.sha256[:12]}: {wrong} with another digest"
            if self._strikes >= STRIKES:
                self.stop()
                self.failed = f"{wrong} with another digest"
            self._todo.append((unit.offset, unit.offset + unit.length))
            return None
        if self.stage is Stage.LIST:
            self._list(data)
            return None
        return data

    def _list(self, listed: bytes) -> None:
        try:
            self.units = cuts.parse(listed, self.ref)
        except cuts.BadList as error:
            self.failed = str(error)
            return
        self.listed = listed
        self.stage = Stage.LISTED

    def _end(self) -> None:
        if self.stage is Stage.UNITS and not self._wanted:
            self.stop()
            self.stage = Stage.WHOLE
