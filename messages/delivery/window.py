"""What is in flight: messages that have an id and no receipt yet."""

from collections.abc import Iterator
from dataclasses import dataclass

from messages.delivery.rows import Row, split_id


@dataclass(slots=True)
class Flight:
    """A row in the window. Times are run time in seconds, -1 before they happened.

    `due` is when to send it again, `since` its first send of this connection, `sent` its last. `first` and `last`
    number these sends among all of the sender's: a receipt for what was sent later proves that the peer passed this
    one over.
    """

    row: Row
    due: float = 0.0
    since: float = -1.0
    sent: float = -1.0
    first: int = 0
    last: int = 0
    sends: int = 0
    tries: int = 0
    strikes: int = 0


BLOBS = 2
"""So many rows may be in flight whose blobs the peer has to fetch first: others are not to wait behind them."""


class Window:
    """The flights to one peer, by stream and sequence number, each stream's oldest first."""

    def __init__(self) -> None:
        self._flights: dict[str, dict[int, Flight]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._flights.values()))

    def __bool__(self) -> bool:
        return bool(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        for flights in self._flights.values():
            yield from flights.values()

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that have flights."""
        return tuple(self._flights)

    def admits(self, row: Row) -> bool:
        """Whether a row may be sent now."""
        return not row.blob or sum(bool(flight.row.blob) for flight in self) < BLOBS

    def add(self, flight: Flight) -> None:
        """The newest of its stream."""
        self._flights.setdefault(flight.row.stream, {})[flight.row.seq] = flight

    def find(self, event_id: str) -> Flight | None:
        """The flight with this id, if there is one."""
        try:
            stream, seq = split_id(event_id)
        except ValueError:
            return None
        return self._flights.get(stream, {}).get(seq)

    def take(self, event_id: str) -> Flight | None:
        """Take a flight out."""
        flight = self.find(event_id)
        if flight is not None:
            row = flight.row
            del self._flights[row.stream][row.seq]
            if not self._flights[row.stream]:
                del self._flights[row.stream]
        return flight

    def low(self, stream: str, default: int) -> int:
        """The oldest sequence number of a stream that is in flight."""
        return next(iter(self._flights.get(stream, {})), default)
