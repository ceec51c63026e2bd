"""What other apps hand in: read, told apart from what was handed in before, and remembered for a day."""

from typing import Final

from msgspec import Struct, structs

from messages.codec import BadPayload, decode, fingerprint
from messages.delivery.store import Store, StoreFull
from messages.shapes import Reading

REMEMBER_S: Final = 86_400.0
"""For how long (run time) an app's ids are remembered."""

MOST_IDS: Final = 200_000
"""How many ids of a day are remembered: two a second."""

TOGETHER: Final = 512
"""So many ids of easy samples are written at once. A kill forgets those; handed in again, they are judged again."""


class Handed(Struct, frozen=True):
    """A reading as the app meant it: every field has its value. `again` says that it was handed in before."""

    reading: Reading
    content: bytes
    again: bool


class BadReading(BadPayload):
    """What an app handed in cannot be used. `sample_id` is what the app will look for, where it could be read."""

    def __init__(self, reason: str, sample_id: str = "") -> None:
        super().__init__(reason)
        self.sample_id = sample_id


class Readings:
    """The ids of what was handed in, by job. An id that comes again with the same content is no new sample."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unwritten: dict[tuple[str, str], bytes] = {}

    def read(self, job: str, payload: bytes, at: int) -> Handed:
        """Read what came for a job at `at` (wall clock, ms). Raises BadReading."""
        reading = _decoded(payload)
        name = reading.sample_id or reading.event_id
        if reading.job not in ("", job):
            raise BadReading(f"job is {reading.job[:63]!r}, the topic says {job!r}", name)
        for field, text in (("event_id", reading.event_id), ("sample_id", name)):
            if not 1 <= len(text) <= 200:
                raise BadReading(f"{field} {text[:40]!r}: use 1 to 200 characters", name[:200])
        reading = structs.replace(reading, job=job, sample_id=name)
        content = _content(reading)
        known = self._unwritten.get((job, reading.event_id)) or self._store.remembered(job, reading.event_id)
        if known is not None and known != content:
            raise BadReading(f"event_id {reading.event_id[:40]!r} was used before, with other content", name)
        return Handed(structs.replace(reading, timestamp=reading.timestamp or at), content, known is not None)

    def keep(self, handed: Handed, now: float) -> None:
        """Remember inside the caller's transaction: with a hard sample its id is stored."""
        self._store.remember(handed.reading.job, handed.reading.event_id, handed.content, now)

    def note(self, handed: Handed, now: float) -> None:
        """Remember the id of an easy sample, to be written with many others."""
        self._unwritten[handed.reading.job, handed.reading.event_id] = handed.content
        if len(self._unwritten) >= TOGETHER:
            self.write(now)

    def write(self, now: float) -> None:
        """Write what was noted, and forget what is old. On a full disk only this courtesy is lost."""
        try:
            with self._store.transaction():
                for (job, event_id), content in self._unwritten.items():
                    self._store.remember(job, event_id, content, now)
                self._store.forget_remembered(now - REMEMBER_S, MOST_IDS)
        except StoreFull:
            pass
        self._unwritten.clear()


def name_of(payload: bytes) -> str:
    """What an app calls its reading, as far as that can be read; else nothing."""
    try:
        names = decode(_Names, payload)
    except BadPayload:
        return ""
    return (names.sample_id or names.event_id)[:200]


def _decoded(payload: bytes) -> Reading:
    try:
        return decode(Reading, payload)
    except BadPayload as error:
        raise BadReading(str(error), name_of(payload)) from error


def _content(reading: Reading) -> bytes:
    try:
        return fingerprint(structs.replace(reading, timestamp=0))
    except (OverflowError, RecursionError) as error:
        raise BadReading(f"x: {error}", reading.sample_id) from error


class _Names(Struct, frozen=True):
    event_id: str = ""
    sample_id: str = ""
