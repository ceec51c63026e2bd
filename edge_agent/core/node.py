"""What a node decides: which predictions to give, what to send to the hub, and what a message from the hub means.

The shell calls one method for each thing that happens, publishes the posts that come back, and hands predictions to
the apps. `now` is run time in seconds (never goes back), `at` is the wall clock in ms (may be wrong).
"""

import math
from collections.abc import Sequence
from random import Random
from typing import Literal

from edge_agent.core.counters import Counters
from edge_agent.core.desired import DesiredNode
from edge_agent.core.exchange import NodeOptions, Observation, Post, Taken, final, unanswered
from edge_agent.core.readings import Readings
from edge_agent.core.replies import Replies
from edge_agent.values import is_finite
from messages import channels
from messages.channels import HUB
from messages.codec import BadPayload, decode, encode_body, fingerprint
from messages.delivery.bounds import Bounds
from messages.delivery.receiver import Receiver, Verdict
from messages.delivery.rows import Draft, Entry, Kind, Outcome, Quarantined, Totals
from messages.delivery.sender import Outgoing, Sender
from messages.delivery.store import Store, StoreFull
from messages.shapes import Answer, Deferral, HardSample, Link, Prediction, Receipt, Refusal, Tensor

FULL_S = 1.0
"""How long to wait before a full disk is tried again."""

AWAY_S = 15.0
"""When the hub should offer an answer again that the device's apps could not be given."""

FORGET_S = 7 * 86_400.0
"""For how long (run time) a stream of the hub is remembered after it fell silent."""


class NodeCore:
    """One node's part of every protocol. `stream` is drawn anew at every start of the process."""

    def __init__(self, store: Store, options: NodeOptions, *, stream: str, random: Random) -> None:
        self.options = options
        self.session = store.recall("session")
        self.counters: dict[str, Counters] = {}
        self.releases: dict[str, str] = {}
        self._store = store
        self._replies = Replies(stream, options)
        self._bounds = Bounds(store, options.caps)
        self._receiver = Receiver(store)
        self._sender = Sender(store, HUB, stream, pace=options.pace, random=random)
        self._unwritten: dict[Entry, int] = {}
        self.readings = Readings(store)
        self.desired = DesiredNode(store, options)
        self._launched: list[Outgoing] = []
        self._posts: list[Post] = []
        self._ended: list[Prediction] = []
        self._retry_at = 0.0
        self._delivered: set[str] = set()
        self._started = self.session + 1

    @property
    def sender(self) -> Sender:
        """The outbox's sending end, to look at."""
        return self._sender

    def counters_of(self, job: str) -> Counters:
        """What a job counts."""
        return self.counters.setdefault(job, Counters())

    def waiting(self, kind: Kind) -> Totals:
        """What waits of one kind in the outbox."""
        return self._store.totals(kind)

    def observe(self, seen: Observation, x: Tensor | None, now: float, at: int) -> Prediction:
        """Count a sample and, when the policy says so, put it into the outbox. The prediction is there at once.

        It is provisional when the sample was stored to be sent. A full disk makes it final: no answer will come.
        """
        provisional = seen.offload and x is not None and self._keep(seen, x, now, at)
        if seen.handed is not None and not provisional:
            self.readings.note(seen.handed, now)
        if seen.handed is None or not seen.handed.again:
            self.counters_of(seen.job).add(seen, kept=x.size if provisional and x is not None else None)
        return Prediction(
            event_id=seen.sample_id, timestamp=at, job=seen.job, sample_id=seen.sample_id, value=seen.value,
            provisional=provisional, origin="edge", reason=seen.reason, low_trust=seen.low_trust,
        )  # fmt: skip

    def take(self, path: str, payload: bytes, now: float, at: int) -> Taken | None:
        """Read a message from the hub: what it means happens at once, but an answer is to be delivered first."""
        try:
            return self._take(path, payload, now, at)
        except BadPayload as error:
            self.quarantine(path, payload, str(error), at)
            return None

    def quarantine(self, path: str, payload: bytes, reason: str, at: int) -> None:
        """Count bytes that could not be used, and keep their beginning for a person to look at."""
        item = Quarantined(topic=path[:200], reason=reason[:300], size=len(payload), head=payload[:1024], at=at)
        line = Entry(HUB, "", "", Outcome.QUARANTINED)
        try:
            with self._store.transaction():
                self._store.quarantine(item)
                self._store.count(line)
        except StoreFull:
            self._remember(line)

    def settle(self, taken: Sequence[Taken], now: float, at: int) -> list[Post]:
        """Commit delivered answers, then tell the hub: after this it forgets them.

        On a full disk the hub will send them again; the apps have them and are spared that.
        """
        refused = [Refusal(event_id=item.answer.event_id, reason=item.verdict) for item in taken if item.bad]
        try:
            with self._store.transaction():
                new = [item.answer for item in taken if self._settle_one(item)]
                self._receiver.flush(now)
        except StoreFull:
            self._receiver.reload()
            self._undo()
            self._delivered.update(item.answer.event_id for item in taken)
            return []
        self._delivered.difference_update(item.answer.event_id for item in taken)
        for answer in new:
            counters = self.counters_of(answer.job)
            counters.answered += not answer.error
            counters.failed += bool(answer.error)
        done = tuple(item.answer.event_id for item in taken if not item.bad)
        return [self._replies.receipt(at, done=done, refused=tuple(refused))]

    def defer(self, taken: Taken, at: int) -> list[Post]:
        """The apps cannot be reached: tell the hub to keep an answer and send it again."""
        later = Deferral(event_id=taken.answer.event_id, retry_s=AWAY_S, reason="the device's apps are away")
        return [self._replies.receipt(at, later=(later,))]

    def due(self, now: float, at: int) -> list[Post]:
        """What to publish now. Publish it only after this returned: it is committed then."""
        launched, self._launched = self._launched, []
        if self._sender.has_work(now):
            try:
                with self._store.transaction():
                    due = self._sender.due(now, at)
                launched += due
                self._collect(at)
            except StoreFull:
                self._undo()
                self._sender.pause(now + FULL_S)
        if self._unwritten and now >= self._retry_at:
            self._write_counts(now)
        posts, self._posts = self._posts, []
        return posts + [Post(outgoing.path, outgoing.payload) for outgoing in launched]

    def take_ended(self) -> list[Prediction]:
        """Final predictions without a value: no answer will come for these samples, and why."""
        ended, self._ended = self._ended, []
        return ended

    def new_session(self, at: int) -> int:
        """Begin a session, as before every attempt to connect: the last will must carry the connection's own."""
        self.session = max(self.session + 1, at)
        try:
            with self._store.transaction():
                self._store.record("session", self.session)
        except StoreFull:
            self._undo()
        return self.session

    def connected(self) -> None:
        """The link is up: what is in flight goes out again."""
        self._sender.online()

    def disconnected(self) -> None:
        """The link is down: nothing is sent, everything is kept."""
        self._sender.offline()

    def beat(self, now: float, at: int, link: Link) -> Post:
        """Once in `beat_s`: drop what is too old, report the counters, and say what this node is doing."""
        try:
            with self._store.transaction():
                self._bounds.expire(now)
                for job, counters in self.counters.items():
                    self._bounds.put(self._replies.report(job, counters, self._started, now=now, at=at))
                self._receiver.forget(HUB, (), now - FORGET_S)
            self._collect(at)
        except StoreFull:
            self._undo()
        self._sender.wake()
        self.readings.write(now)
        return self.status("online", at, link)

    def status(self, state: Literal["online", "offline"], at: int, link: Link) -> Post:
        """Birth, heartbeat, or (as last will or at a clean stop) death."""
        totals = [self._store.totals(kind) for kind in Kind]
        backlog = Totals(sum(t.rows for t in totals), sum(t.bytes for t in totals))
        return self._replies.status(
            state, at, backlog, session=self.session, streams=self._sender.streams, releases=dict(self.releases),
            link=link, **self.desired.told(),
        )  # fmt: skip

    def _keep(self, seen: Observation, x: Tensor, now: float, at: int) -> bool:
        kind = Kind.AUDIT if seen.audit else Kind.SAMPLE
        rank = seen.rank if math.isfinite(seen.rank) else 0.0
        sample = HardSample(
            event_id="", timestamp=at, job=seen.job, sample_id=seen.sample_id, x=x, edge=seen.value,
            reason=seen.reason, rank=rank, model=seen.model, audit=seen.audit,
        )  # fmt: skip
        draft = Draft(
            peer=HUB, path=channels.UP_SAMPLE.path, job=seen.job, kind=kind, key=seen.sample_id, rank=rank,
            created=now, body=encode_body(sample, self.options.form), blob=x.blob.sha256 if x.blob else "",
            beside=x.blob.size if x.blob else 0,
        )  # fmt: skip
        try:
            with self._store.transaction():
                if seen.handed is not None:
                    self.readings.keep(seen.handed, now)
                self._bounds.put(draft)
                self._sender.wake()
                launched = self._sender.due(now, at)
        except StoreFull:
            self._undo()
            for outcome, reason in ((Outcome.CREATED, ""), (Outcome.DROPPED, "disk full")):
                self._remember(Entry(HUB, seen.job, draft.path, outcome, reason))
            return False
        self._launched += launched
        self._collect(at)
        mine = [ended for ended in self._ended if (ended.job, ended.sample_id) == (seen.job, seen.sample_id)]
        self._ended = [ended for ended in self._ended if ended not in mine]
        return not mine

    def _take(self, path: str, payload: bytes, now: float, at: int) -> Taken | None:
        if path == channels.DOWN_RECEIPT.path:
            self._settle_receipt(decode(Receipt, payload), now, at)
            return None
        if path == channels.DOWN_DESIRED.path:
            ids, reason = self.desired.take(payload)
            self._posts.append(self._replies.receipt(at, **ids))
            if reason:
                raise BadPayload(f"refused: {reason}")
            return None
        if path != channels.DOWN_ANSWER.path:
            raise BadPayload("a channel that this version does not take")
        answer = decode(Answer, payload)
        if answer.value is not None and not is_finite(answer.value):
            raise BadPayload("value holds NaN or infinity")
        content = fingerprint(answer)
        try:
            channels.checked(answer.job, "job")
            verdict = self._receiver.judge(HUB, answer, content)
        except ValueError as error:
            raise BadPayload(str(error)) from error
        known = verdict is not Verdict.NEW or answer.event_id in self._delivered
        taken = Taken(answer, content, verdict, None if known else final(answer, at))
        if taken.bad:
            self.quarantine(path, payload, f"refused: {verdict}", at)
        return taken

    def _settle_receipt(self, receipt: Receipt, now: float, at: int) -> None:
        """On a full disk the receipt is lost, which only means that the hub is asked once more."""
        try:
            with self._store.transaction():
                self._sender.settle(receipt, now, at)
            self._collect(at)
        except StoreFull:
            self._undo()

    def _undo(self) -> None:
        """A transaction failed: forget what was kept in memory of it."""
        self._sender.reload()
        self._bounds.reload()

    def _collect(self, at: int) -> None:
        """After a commit: the apps must not wait for what was dropped or refused in it."""
        for row, reason in self._bounds.take_ended() + self._sender.take_ended():
            if row.path == channels.UP_SAMPLE.path:
                self._ended.append(unanswered(row, reason, at))

    def _settle_one(self, item: Taken) -> bool:
        """Store one answer as received; True when it is new."""
        answer = item.answer
        # the same message may stand twice in one batch
        if item.verdict is not Verdict.NEW or self._receiver.judge(HUB, answer, item.content) is not Verdict.NEW:
            return False
        self._receiver.keep(HUB, answer, item.content)
        self._store.count(Entry(HUB, answer.job, channels.DOWN_ANSWER.path, Outcome.STORED))
        self._sender.proven(channels.UP_SAMPLE.path, answer.job, answer.sample_id)
        return True

    def _write_counts(self, now: float) -> None:
        """In a transaction of its own: a disk that refuses the books must not hold back what is to be sent."""
        try:
            with self._store.transaction():
                for entry, number in self._unwritten.items():
                    self._store.count(entry, number)
            self._unwritten.clear()
        except StoreFull:
            self._retry_at = now + FULL_S

    def _remember(self, entry: Entry) -> None:
        """A ledger line that a full disk refused; `due` writes it as soon as there is room."""
        self._unwritten[entry] = self._unwritten.get(entry, 0) + 1
