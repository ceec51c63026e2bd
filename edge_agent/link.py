"""Carries what the core decided to the hub and back: one task reads the bus, one keeps time."""

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Protocol

from edge_agent.blobs import NodeBlobs
from edge_agent.buses import MakeBus
from edge_agent.config import AgentSettings
from edge_agent.core.exchange import Post, Taken, Told
from edge_agent.core.node import NodeCore
from edge_agent.finals import Finals
from edge_agent.flaps import Flaps
from edge_agent.policies.limits import Moment
from messages import channels
from messages.bus.protocol import Connected, Denied, Disconnected, Incoming, NotConnected, Will
from messages.delivery.rows import Kind
from messages.host.clock import Clock
from messages.shapes import Link as LinkState

LOOK_S = 5.0
"""How often the log is told what went wrong."""

STEADY_S = 10.0
"""A link that is up for so long is a good one; what then happens to it is news."""

REST_S = 0.05
"""The clock never wakes sooner than this: on a full disk there is always something to do that cannot be done."""

_MOST_AT_ONCE = 64


_log = logging.getLogger("edge_agent")


class Owner(Protocol):
    """Whom the link serves; `finals` takes what came for the apps, and says what became of it.

    `blobs` takes what is said of large content.
    """

    blobs: NodeBlobs
    finals: Finals

    def hear(self, reading: Incoming) -> bool:
        """Take a message that may be an app's reading; False when no app may come in here."""

    def look(self, silent_s: float) -> None:
        """Say in the log what went wrong lately; `silent_s` is for how long the hub owes a receipt."""


class HubLink:
    """The node's end of the link to its hub."""

    def __init__(
        self, core: NodeCore, clock: Clock, *, settings: AgentSettings, make_bus: MakeBus, owner: Owner
    ) -> None:
        self.connected = False
        self.exchanged = 0
        self._core = core
        self._clock = clock
        self._settings = settings
        self.bus = make_bus(self._will)
        self._owner = owner
        self._topics: dict[str, str] = {}
        self._path = lru_cache(256)(_path)
        self._state = LinkState()
        self._taken: list[tuple[Taken, Incoming]] = []
        self._flaps = Flaps(STEADY_S)
        self._owed_since: float | None = None
        self._wake = clock.now()
        self._sooner = asyncio.Event()

    async def read(self) -> None:
        """Take in all that the bus tells, until cancelled; then say that the node is offline."""
        async with self.bus as bus:
            try:
                async for event in bus.events():
                    match event:
                        case Incoming():
                            self.exchanged += len(event.topic) + len(event.payload)
                            self._take(event)
                        case Connected():
                            self._up(event)
                        case Disconnected():
                            self._down(event)
                        case Denied():
                            self._tell(logging.ERROR, f"the broker denies {event.topic[:200]}: {event.reason}")
            finally:
                self._settle()
                self._post([self._core.status("offline", self._clock.at(), self._link_state())])

    def moment(self, size: int) -> Moment:
        """Now, for a policy that must know of the link; `size` is what a sample has in bytes."""
        waiting = sum(self._core.waiting(kind).bytes for kind in (Kind.SAMPLE, Kind.AUDIT))
        now, at = self._clock.now(), self._clock.at()
        return Moment(now, at, self.connected, size, self.exchanged, waiting)

    async def keep_time(self) -> None:
        """Send again, beat, and tell the log what went wrong, until cancelled."""
        beat = self._clock.now() + self._core.options.beat_s
        look = self._clock.now()
        while True:
            now = self._clock.now()
            if now >= beat:
                beat = now + self._core.options.beat_s
                self._post([self._core.beat(now, self._clock.at(), self._link_state())])
                self._owner.blobs.sweep()
            if now >= look:
                look = now + LOOK_S
                self.look()
            self._wake = min(beat, look)
            self.pump()
            await self._sleep()

    def pump(self) -> None:
        """Publish what is due, and see to it that the clock wakes when more will be."""
        now = self._clock.now()
        self._post(self._core.due(now, self._clock.at()))
        if self._core.desired.take_news():
            self._post([self._core.status("online", self._clock.at(), self._link_state())])
        for ended in self._core.take_ended():
            self._owner.finals.deliver(ended)
        wake = self._core.sender.wake_at()
        if wake is not None and wake < self._wake:
            self._wake = max(wake, now + REST_S)
            self._sooner.set()

    def look(self) -> None:
        """Tell the log what went wrong since the last look."""
        now = self._clock.now()
        self._flaps.look(now)
        if not self.connected or not self._core.sender.in_flight:
            self._owed_since = None
        elif self._owed_since is None:
            self._owed_since = now
        self._owner.look(0.0 if self._owed_since is None else now - self._owed_since)

    async def _sleep(self) -> None:
        self._sooner.clear()
        try:
            async with asyncio.timeout(max(0.0, self._wake - self._clock.now())):
                await self._sooner.wait()
        except TimeoutError:
            return

    def _take(self, event: Incoming) -> None:
        if self._path(event.topic) == channels.IN.path and self._owner.hear(event):
            return
        taken = self._read(event)
        if taken is None:
            self.bus.ack(event)
            self.pump()
            return
        if taken.final is None:
            self._keep(taken, event)
        else:
            self._owner.finals.deliver(taken.final, partial(self._told, taken, event))

    def _told(self, taken: Taken, event: Incoming, told: Told) -> None:
        """The apps have an answer, or not; then the hub offers it again."""
        if told is Told.TOLD:
            self._keep(taken, event)
            return
        if told is Told.AWAY:
            self._post(self._core.defer(taken, self._clock.at()))
        self.bus.ack(event)

    def _keep(self, taken: Taken, event: Incoming) -> None:
        self._taken.append((taken, event))
        if len(self._taken) >= _MOST_AT_ONCE:
            self._settle()
        elif len(self._taken) == 1:
            asyncio.get_running_loop().call_soon(self._settle)

    def _read(self, event: Incoming) -> Taken | None:
        path = self._path(event.topic)
        if event.retained:
            reason = "a retained message on a channel that is never retained"
            self._core.quarantine(path, event.payload, reason, self._clock.at())
            return None
        wrong = self._owner.blobs.take(path, event.payload)
        if wrong is not None:
            if wrong:
                self._core.quarantine(path, event.payload, wrong, self._clock.at())
            return None
        if path == channels.DOWN_RECEIPT.path:
            self._owed_since = None
        return self._core.take(path, event.payload, self._clock.now(), self._clock.at())

    def _settle(self) -> None:
        """Commit the answers that came together, then receipt them, then acknowledge them."""
        together, self._taken = self._taken, []
        if together:
            taken = [item for item, _ in together]
            self._post(self._core.settle(taken, self._clock.now(), self._clock.at()))
        for _, event in together:
            self.bus.ack(event)

    def _up(self, event: Connected) -> None:
        self.connected = True
        self._flaps.up(self._clock.now())
        self._state = LinkState(protocol=event.protocol, connects=self._state.connects + 1)
        self._tell(logging.INFO, f"connected to {self._settings.mqtt.url}, MQTT {event.protocol}")
        self._core.connected()
        self._owner.blobs.link(up=True)
        self._post([self._core.status("online", self._clock.at(), self._link_state())])
        self.pump()

    def _down(self, event: Disconnected) -> None:
        self.connected = False
        self._core.disconnected()
        self._owner.blobs.link(up=False)
        self._flaps.down()
        url = self._settings.mqtt.url
        if event.refused:
            self._tell(logging.ERROR, f"{url} refuses: {event.reason}; trying again, but a person should look")
        else:
            self._tell(logging.WARNING, f"no connection to {url}: {event.reason}; trying again")

    def _tell(self, level: int, line: str) -> None:
        if self._flaps.is_news(line):
            _log.log(level, line)

    def _will(self) -> Will:
        at = self._clock.at()
        self._core.new_session(at)
        post = self._core.status("offline", at, self._state)
        return Will(self._topic(post.path), post.payload, post.retain)

    def _post(self, posts: Sequence[Post]) -> None:
        try:
            for post in posts:
                topic = self._topic(post.path)
                self.bus.post(topic, post.payload, retain=post.retain)
                self.exchanged += len(topic) + len(post.payload)
        except NotConnected:
            # all that matters is in the outbox and goes out again at the next connection
            return

    def _topic(self, path: str) -> str:
        topic = self._topics.get(path)
        if topic is None:
            topic = self._topics[path] = channels.CHANNELS[path].topic(self._settings.namespace, self._settings.node)
        return topic

    def _link_state(self) -> LinkState:
        return LinkState(
            protocol=self._state.protocol,
            connects=self._state.connects,
            round_trip_ms=round(1000.0 * self._core.sender.round_trip_s, 1),
        )


def _path(topic: str) -> str:
    try:
        return channels.parse(topic).path
    except channels.BadTopic:
        return topic
