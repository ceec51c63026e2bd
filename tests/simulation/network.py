"""A broker and its links: it drops, doubles, delays, forgets everything at a restart, and fires last wills."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.simulation.plan import Plan
from tests.simulation.timeline import Timeline


@dataclass(slots=True)
class Link:
    """One client's connection. `generation` tells one connection from the next; messages of an old one are gone."""

    deliver: Callable[[str, bytes, bool], None]
    on_change: Callable[[bool], None]
    generation: int = 0
    up: bool = False
    will: tuple[str, bytes] | None = None


class Network:
    """Clean sessions, one hub and many nodes; a message for a client that is away is lost."""

    def __init__(self, timeline: Timeline, random: Random, plan: Plan) -> None:
        self._timeline = timeline
        self._random = random
        self._plan = plan
        self._links: dict[str, Link] = {}
        self._retained: dict[str, bytes] = {}
        self.stormy = True

    def join(self, name: str, link: Link) -> None:
        """A client that will connect some day."""
        self._links[name] = link

    def up(self, name: str) -> bool:
        """Is the client connected?"""
        return self._links[name].up

    def connect(self, name: str, will: tuple[str, bytes] | None = None) -> None:
        """Connect; an older connection of the client is taken over, and its will is published."""
        link = self._links[name]
        if link.up:
            self.cut(name)
        link.generation += 1
        link.up, link.will = True, will
        link.on_change(True)
        if name == "hub":
            for topic, payload in list(self._retained.items()):
                self._carry("hub", topic, payload, retained=True)

    def leave(self, name: str) -> None:
        """A clean disconnect: no will."""
        self._links[name].will = None
        self.cut(name)

    def cut(self, name: str) -> None:
        """The connection is gone; the broker notices some seconds later and publishes the will."""
        link = self._links[name]
        if not link.up:
            return
        link.up = False
        will, link.will = link.will, None
        link.on_change(False)
        if will is not None:
            self._timeline.after(self._random.uniform(0.0, 20.0), lambda: self._fire(will))

    def restart(self) -> None:
        """The broker dies and comes back with nothing: no retained messages, no connections, no wills."""
        self._retained.clear()
        for name, link in self._links.items():
            link.will = None
            self.cut(name)

    def publish(self, sender: str, topic: str, payload: bytes, *, to: str, retain: bool = False) -> None:
        """A message on its way; what happens to it is the seed's business."""
        if not self._links[sender].up:
            return
        if retain:
            self._retained[topic] = payload
        if self.stormy and self._random.random() < self._plan.drop:
            self._timeline.note("dropped", topic)
            return
        self._carry(to, topic, payload, retained=False)
        if self.stormy and self._random.random() < self._plan.double:
            self._carry(to, topic, payload, retained=False)

    def _fire(self, will: tuple[str, bytes]) -> None:
        topic, payload = will
        self._retained[topic] = payload
        self._carry("hub", topic, payload, retained=False)

    def _carry(self, to: str, topic: str, payload: bytes, *, retained: bool) -> None:
        delay = self._random.uniform(0.001, 0.2)
        if self.stormy and self._random.random() < self._plan.late:
            delay = self._random.uniform(0.2, 40.0)
        # a late copy may come over a later connection, as from a broker that had queued it
        self._timeline.after(delay, lambda: self._arrive(to, topic, payload, retained))

    def _arrive(self, to: str, topic: str, payload: bytes, retained: bool) -> None:
        link = self._links[to]
        if link.up:
            link.deliver(topic, payload, retained)
