"""Who is there: births, heartbeats and deaths of nodes, told apart from old copies by their session numbers."""

from enum import StrEnum

from msgspec import Struct

from messages.shapes import NodeStatus

MISSED_BEATS = 3
"""A node is offline after so many heartbeats that did not come, on the hub's own clock."""


class Change(StrEnum):
    """What a status means for a node."""

    BORN = "born"
    BEAT = "beat"
    DIED = "died"
    STALE = "stale"


class Seen(Struct):
    """What presence remembers of a node: the last status and when it came (run time, seconds)."""

    status: NodeStatus
    heard: float
    online: bool


class Presence:
    """All nodes that have spoken since the hub started, or that the store knows."""

    def __init__(self) -> None:
        self._nodes: dict[str, Seen] = {}

    def know(self, node: str, status: NodeStatus, now: float) -> None:
        """A node from the store: its session counts, but whether it is there now only its next status tells."""
        self._nodes[node] = Seen(status, now, online=False)

    def online(self, node: str) -> bool:
        """Whether the node is there, as far as is known."""
        seen = self._nodes.get(node)
        return seen is not None and seen.online

    @property
    def nodes_online(self) -> int:
        """How many nodes are there."""
        return sum(seen.online for seen in self._nodes.values())

    def there(self) -> list[tuple[str, NodeStatus]]:
        """The nodes that are there, with their last status."""
        return [(node, seen.status) for node, seen in self._nodes.items() if seen.online]

    def take(self, node: str, status: NodeStatus, now: float) -> Change:
        """A status came. An older session, or an `offline` that is not of the last session, changes nothing.

        Nor does an `online` of a session that has ended: every connection has its own, so it is an old copy.
        """
        seen = self._nodes.get(node)
        last = seen.status.session if seen is not None else -1
        if status.session < last:
            return Change.STALE
        if status.state == "offline":
            was_online = seen is None or seen.online
            self._nodes[node] = Seen(status, now, online=False)
            return Change.DIED if was_online else Change.STALE
        if seen is not None and seen.status.state == "offline" and status.session == last:
            return Change.STALE
        born = seen is None or not seen.online or status.session > last
        self._nodes[node] = Seen(status, now, online=True)
        return Change.BORN if born else Change.BEAT

    def heard(self, node: str, now: float) -> None:
        """Any message of a node shows that it lives."""
        seen = self._nodes.get(node)
        if seen is not None:
            seen.heard = now

    def overdue(self, now: float) -> list[str]:
        """The nodes that have missed their beats; they count as offline from here on."""
        late = [
            node
            for node, seen in self._nodes.items()
            if seen.online and now - seen.heard > MISSED_BEATS * max(1.0, seen.status.beat_s)
        ]
        for node in late:
            self._nodes[node].online = False
        return late
