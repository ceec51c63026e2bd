"""Closing the books: what a sender's ledger says against what the receiver's ledger says.

created = done + refused + dropped + waiting at the sender, and everything that is done was stored by the receiver (or
was known to it). What is missing is lost. A separate program can do this sum from the two databases alone.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from messages.delivery.rows import Entry, Outcome


class Books(Struct, frozen=True, kw_only=True):
    """The sums of one channel of one node. `lost` must be 0; `unbalanced` is what the sender itself cannot explain."""

    created: int = 0
    done: int = 0
    refused: int = 0
    dropped: int = 0
    waiting: int = 0
    stored: int = 0
    known: int = 0

    @property
    def unbalanced(self) -> int:
        """Rows that left the sender's outbox without a line in its ledger."""
        return self.created - self.done - self.refused - self.dropped - self.waiting

    @property
    def missing(self) -> int:
        """Rows that the sender believes to be safe and that the receiver's ledger does not know."""
        return max(0, self.done - self.stored - self.known)

    @property
    def extra(self) -> int:
        """Rows that the receiver stored and that the sender's ledger never created."""
        return max(0, self.stored - self.created)

    @property
    def lost(self) -> int:
        """Rows that are missing at the receiver, or that just vanished."""
        return self.missing + max(0, self.unbalanced)


def total(ledger: Mapping[Entry, int], outcome: Outcome, path: str, peers: Iterable[str] | None = None) -> int:
    """Sum a ledger's lines of one outcome and channel path, for some peers or all."""
    among = None if peers is None else set(peers)
    return sum(
        number
        for entry, number in ledger.items()
        if entry.outcome == outcome and entry.path == path and (among is None or entry.peer in among)
    )


def close(
    sender: Mapping[Entry, int], receiver: Mapping[Entry, int], path: str, *, waiting: int, node: str, at_hub: bool
) -> Books:
    """The books of one channel between one node and the hub.

    `at_hub` says that the receiver is the hub, whose ledger names the node as peer; else the sender is, and its does.
    """
    at_sender = None if at_hub else (node,)
    at_receiver = (node,) if at_hub else None
    return Books(
        created=total(sender, Outcome.CREATED, path, at_sender),
        done=total(sender, Outcome.DONE, path, at_sender),
        refused=total(sender, Outcome.REFUSED, path, at_sender),
        dropped=total(sender, Outcome.DROPPED, path, at_sender),
        waiting=waiting,
        stored=total(receiver, Outcome.STORED, path, at_receiver),
        known=total(receiver, Outcome.KNOWN, path, at_receiver),
    )
