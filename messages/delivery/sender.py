"""What to send now, and when to send it again: one `Sender` for each peer, pure over the store.

The sender keeps in memory only what is in flight; everything else waits in the outbox. Call it inside the store's
transaction and publish what it returns after the commit: row first, publish second. When a transaction fails, call
`reload`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from msgspec import Struct, structs

from messages.codec import seal
from messages.delivery.receiver import MAX_SPREAD
from messages.delivery.rows import Entry, Outcome, Row
from messages.delivery.store import Store
from messages.delivery.window import Flight, Window
from messages.shapes import Receipt

SPREAD = 8
"""How many windows the ids in flight may lie apart: so far others pass a message whose receipt is late."""

TRIES = 3
"""So often a message is sent before it makes way for those that it holds up, to come again under another id."""

LEAST = 4
"""Rows in flight before the first receipt has told how fast the link is, and on the slowest."""


class Pace(Struct, frozen=True, kw_only=True):
    """How fast to send. `window` bounds what is in flight, and by it how far apart the ids may lie (SPREAD).

    Less is in flight where receipts take `first_s` longer than the quickest one did: what queues on a slow link is only
    in the way of what is urgent. A row without a receipt is sent again after `first_s` or three round trips, then twice
    as late each time up to `last_s` (with jitter).
    A row that is told to wait for more than `park_s` leaves the window, and so does one that alone holds it up. A row
    that stays without a receipt `strikes` times, although the peer has receipted what was sent after it, goes to the
    dead letters.
    """

    window: int = 64
    first_s: float = 2.0
    last_s: float = 60.0
    park_s: float = 30.0
    strikes: int = 20


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish now."""

    peer: str
    path: str
    payload: bytes


class Sender:
    """The stream of messages to one peer. `stream` must be drawn anew at every start of the process."""

    def __init__(self, store: Store, peer: str, stream: str, *, pace: Pace, random: Random) -> None:
        self._store = store
        self._peer = peer
        self._stream = stream
        self._pace = pace
        self._random = random
        self._next_seq = 0
        self._credit = pace.window
        self._online, self._heard = False, -1.0
        self._sent = self._proved = 0
        self._strikes: dict[int, int] = {}
        self._round_trip = 0.0
        self._quickest = pace.last_s
        self._window = min(pace.window, LEAST)
        self._flights = Window()
        self._ended: list[tuple[Row, str]] = []
        self._next_due = 0.0
        self._more = True
        self._paused = 0.0
        self.reload()

    def reload(self) -> None:
        """Read what is in flight from the store again, as at a start or after a transaction that failed."""
        known = {flight.row.id: flight for flight in self._flights}
        self._flights = Window()
        for row in self._store.windowed(self._peer):
            flight = known.get(row.id, Flight(row))
            # what a transaction that failed sent was never published
            flight.row, flight.tries = row, min(flight.tries, 1)
            self._flights.add(flight)
        self._next_due, self._more = 0.0, True
        self._ended.clear()

    def take_ended(self) -> list[tuple[Row, str]]:
        """The rows that became dead letters since the last call, with the reasons; call it after the commit."""
        ended, self._ended = self._ended, []
        return ended

    def pause(self, until: float) -> None:
        """Send nothing before `until` (run time): the store has no room, and asking it again would only burn."""
        self._paused = until
        for flight in self._flights:
            flight.due = min(flight.due, until)

    @property
    def in_flight(self) -> int:
        """How many rows have an id and no receipt yet."""
        return len(self._flights)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that still have rows; the receiver may forget all others."""
        return self._flights.streams

    @property
    def round_trip_s(self) -> float:
        """Smoothed time from a row's first send on this connection to its receipt, in seconds; 0 before the first."""
        return self._round_trip

    def silent_s(self, now: float) -> float:
        """For how long the peer has answered nothing although messages were sent again, in seconds of run time."""
        first = min((flight.since for flight in self._flights if flight.sends > 1 and flight.since >= 0.0), default=now)
        return max(0.0, now - max(first, self._heard))

    def online(self) -> None:
        """The peer is there (again): everything in flight is sent at once."""
        self._online = True
        for flight in self._flights:
            flight.due, flight.since = 0.0, -1.0
        self._next_due, self._more = 0.0, True

    def offline(self) -> None:
        """The peer is away: nothing is sent until it is back."""
        self._online = False

    def wake(self) -> None:
        """There may be new rows in the outbox."""
        self._more = True

    def due(self, now: float, at: int) -> list[Outgoing]:
        """What to publish after the commit: what waited too long for its receipt, then new rows as the window allows.

        `now` is run time in seconds, `at` the wall clock in ms (for the dead letters).
        """
        if not self._online or now < self._paused:
            return []
        self._paused = 0.0
        out = list(self._resend(now, at)) if now >= self._next_due else []
        room = self._room()
        if self._more and room > 0:
            rows = self._store.fresh(self._peer, room, now)
            self._more = len(rows) == room
            out += [self._launch(row, now) for row in rows if self._flights.admits(row)]
        return out

    def has_work(self, now: float) -> bool:
        """Would `due` return something? Spares a transaction when it would not."""
        if not self._online or now < self._paused:
            return False
        return (bool(self._flights) and now >= self._next_due) or (self._more and self._room() > 0)

    def wake_at(self) -> float | None:
        """Run time at which `due` should be called again although nothing happened; None when nothing waits."""
        if not self._online or not (self._flights or self._paused):
            return None
        return max(self._next_due, self._paused) if self._flights else self._paused

    def settle(self, receipt: Receipt, now: float, at: int) -> int:
        """Take a receipt in; returns how many rows it settled. Ids that are not in flight are old news."""
        self._heard = now
        self._credit = max(1, receipt.credit)
        settled = sum(self._done(event_id, now) for event_id in receipt.done)
        for refusal in receipt.refused:
            settled += self._refused(refusal.event_id, refusal.reason, at)
        for deferral in receipt.later:
            self._later(deferral.event_id, now + max(0.0, deferral.retry_s), now)
        if not receipt.later:
            self._hurry(now)
        return settled

    def proven(self, path: str, job: str, key: str) -> None:
        """The peer has what waits under this natural key, for it answered it: its receipt is lost, or still to come."""
        row = self._store.find(self._peer, path, job, key)
        if row is not None:
            self._flights.take(row.event_id)
            self._leave(row, Outcome.DONE)

    def _done(self, event_id: str, now: float) -> int:
        flight = self._flights.take(event_id)
        if flight is None:
            return 0
        self._proved = max(self._proved, flight.first)
        self._leave(flight.row, Outcome.DONE)
        if flight.since >= 0.0:
            self._measure(min(now - flight.since, self._pace.last_s))
        return 1

    def _measure(self, sample: float) -> None:
        """Learn from a receipt how long one takes, counted from the first send: a slow link leaves no other samples."""
        self._round_trip = sample if self._round_trip == 0.0 else 0.875 * self._round_trip + 0.125 * sample
        self._quickest = min(self._quickest, sample)
        queues = sample > self._quickest + self._pace.first_s
        self._window = min(self._pace.window, max(LEAST, self._window + (-1 if queues else 1)))

    def _refused(self, event_id: str, reason: str, at: int) -> int:
        flight = self._flights.take(event_id)
        if flight is None:
            return 0
        self._proved = max(self._proved, flight.first)
        self._bury(flight.row, reason, at)
        return 1

    def _later(self, event_id: str, until: float, now: float) -> None:
        flight = self._flights.find(event_id)
        if flight is None:
            return
        self._proved = max(self._proved, flight.first)
        if until - now > self._pace.park_s:
            self._park(flight, until)
            return
        flight.due, flight.strikes, flight.tries, flight.since = until, 0, 1, -1.0
        self._next_due = min(self._next_due, until)

    def _hurry(self, now: float) -> None:
        """The peer answers: what backed off while it was away need not wait that long any more."""
        soon = now + self._timeout(1)
        for flight in self._flights:
            if flight.tries > 1 and flight.due > soon:
                flight.due, flight.tries = soon, 1
                self._next_due = min(self._next_due, soon)

    def _resend(self, now: float, at: int) -> Iterator[Outgoing]:
        overdue = [flight for flight in self._flights if flight.due <= now]
        for flight in overdue:
            flight.strikes += self._proved > flight.last > 0
            if flight.strikes > self._pace.strikes:
                self._flights.take(flight.row.event_id)
                self._bury(flight.row, f"no receipt after {flight.strikes} tries", at)
            elif self._holds_up(flight):
                self._strikes[flight.row.id] = flight.strikes
                self._park(flight, now + self._timeout(flight.tries))
            else:
                yield self._publish(flight, now)
        self._next_due = min((flight.due for flight in self._flights), default=now + self._pace.last_s)

    def _holds_up(self, flight: Flight) -> bool:
        """Whether for the sake of this row no other may enter, although the peer has receipted all that came later."""
        if self._flights.low(self._stream, -1) != flight.row.seq or flight.row.stream != self._stream:
            return False
        late = flight.tries > TRIES or bool(flight.row.blob)
        return self._spread() >= self._widest() and self._proved > flight.first > 0 and late

    def _park(self, flight: Flight, until: float) -> None:
        self._flights.take(flight.row.event_id)
        self._store.park(flight.row.id, until)
        self._more = True

    def _launch(self, row: Row, now: float) -> Outgoing:
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        self._store.enter(row.id, self._stream, seq)
        strikes = self._strikes.pop(row.id, 0)
        flight = Flight(structs.replace(row, stream=self._stream, seq=seq), strikes=strikes, tries=strikes)
        self._flights.add(flight)
        return self._publish(flight, now)

    def _publish(self, flight: Flight, now: float) -> Outgoing:
        row = flight.row
        flight.sends += 1
        flight.tries += 1
        self._sent += 1
        flight.first, flight.last = flight.first or self._sent, self._sent
        flight.since = now if flight.since < 0.0 else flight.since
        flight.sent, flight.due = now, now + self._timeout(flight.tries)
        self._next_due = min(self._next_due, flight.due)
        low = self._flights.low(row.stream, row.seq)
        return Outgoing(row.peer, row.path, seal(self._store.body(row.id), row.event_id, low))

    def _timeout(self, tries: int) -> float:
        base = max(self._pace.first_s, 3.0 * self._round_trip)
        return float(min(self._pace.last_s, base * 2.0 ** min(tries - 1, 16)) * self._random.uniform(0.8, 1.2))

    def _room(self) -> int:
        return min(min(self._window, self._credit) - self.in_flight, self._widest() - self._spread())

    def _spread(self) -> int:
        """How far the ids in flight lie apart."""
        return self._next_seq - self._flights.low(self._stream, self._next_seq)

    def _widest(self) -> int:
        return min(SPREAD * min(self._pace.window, self._credit), MAX_SPREAD)

    def _bury(self, row: Row, reason: str, at: int) -> None:
        self._store.bury(row, reason, at)
        self._ended.append((row, reason))
        self._leave(row, Outcome.REFUSED, reason)

    def _leave(self, row: Row, outcome: Outcome, reason: str = "") -> None:
        self._more = self._more or bool(row.blob)
        self._store.remove(row.id)
        self._store.count(Entry(row.peer, row.job, row.path, outcome, reason))
