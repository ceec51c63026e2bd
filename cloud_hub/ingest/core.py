"""The hub's part of every protocol: arrivals in; receipts, answers and batches for the big models out.

One call handles many arrivals in one transaction (group commit); what it returns is published after the commit. `now`
is run time in seconds, `at` the hub's wall clock in ms.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from msgspec import structs

from cloud_hub.ingest.complaints import Complaints
from cloud_hub.ingest.desired import DesiredHub, wanted
from cloud_hub.ingest.effects import Delivered, Effects, Outcomes
from cloud_hub.ingest.exchange import Arrival, HubOptions, Output, Post
from cloud_hub.ingest.inference import Clock, Inference, JobSpec
from cloud_hub.ingest.presence import Change, Presence
from cloud_hub.ingest.wakes import Wakes
from cloud_hub.store.protocol import HubStore, NodeRecord, Verdict
from messages import channels
from messages.channels import Address
from messages.codec import BadPayload, decode, encode
from messages.delivery.bounds import Bounds
from messages.delivery.receiver import Receiver
from messages.delivery.rows import Entry, Outcome, Quarantined, split_id
from messages.delivery.sender import Sender
from messages.shapes import Envelope, NodeStatus, Receipt

HEAD = 1024
"""How many bytes of a bad payload are kept to look at."""

MOST_IDS = 256
"""Ids in one receipt."""

FULL_S = 1.0
"""How long `tick` waits after a transaction that failed."""

FORGET_S = 7 * 86_400.0
"""For how long (run time) a node's silent stream is remembered."""


class HubCore:
    """One hub's part of every protocol. `stream` is drawn anew at every start of the process."""

    def __init__(
        self, store: HubStore, options: HubOptions, jobs: Mapping[str, JobSpec], *, stream: str, random: Random
    ) -> None:
        self.presence = Presence()
        self.options = options
        self._store = store
        self._stream = stream
        self._random = random
        self._replies = 0
        self._receiver = Receiver(store)
        self._senders: dict[str, Sender] = {}
        self._bounds = Bounds(store, options.caps)
        self._inference = Inference(store, self._bounds, jobs, form=options.form, shelf=options.shelf)
        self._desired = DesiredHub(store, self._bounds, options)
        self._effects = Effects(store, self._receiver, self._inference)
        self._woken: set[str] = set()
        self._wakes = Wakes()
        self._paused = 0.0
        self._complaints = Complaints()

    def start(self, now: float, at: int) -> Output:
        """Read what an earlier process left: nodes, unanswered samples."""
        for record in self._store.nodes():
            self.presence.know(record.name, record.status, now)
        return self._commit(lambda out: self._inference.start((now, at), out.predictions), now, at)

    def receive(self, arrivals: Sequence[Arrival], now: float, at: int) -> Output:
        """Take a batch of messages in. Raises StoreFull when nothing of it could be stored: see `refuse`."""
        outcomes: dict[str, Outcomes] = {}

        def work(out: Output) -> None:
            for arrival in arrivals:
                self._arrive(arrival, outcomes, out, (now, at))
            self._inference.arrived((now, at), out.predictions)
            self._receiver.flush(now)

        out = self._commit(work, now, at)
        out.needed, out.spent = self._inference.take_blobs()
        for node, outcome in outcomes.items():
            out.posts += self._receipts(node, outcome, at)
        return out

    def refuse(self, arrivals: Iterable[Arrival], reason: str, at: int) -> Output:
        """Nothing can be stored now: ask the senders to wait. Touches no store."""
        out = Output()
        outcomes: dict[str, Outcomes] = {}
        for arrival in arrivals:
            try:
                address = channels.parse(arrival.topic)
                envelope = decode(Envelope, arrival.payload)
                split_id(envelope.event_id)
            except ValueError:
                continue
            if address.channel is not None and address.channel.reliable:
                outcomes.setdefault(address.node, Outcomes()).later(envelope.event_id, self.options.retry_s, reason)
        for node, outcome in outcomes.items():
            out.posts += self._receipts(node, outcome, at)
        return out

    def complain(self, arrival: Arrival, reason: str, now: float, at: int) -> Output:
        """Keep a message that another part of the hub could not use."""
        return self._commit(lambda out: self._quarantine(arrival, reason, out, (now, at)), now, at)

    def ready(self, job: str, worker: str, model: str, now: float, at: int) -> Output:
        """A worker has loaded its model."""
        return self._commit(lambda out: self._inference.ready(job, worker, model, (now, at), out.predictions), now, at)

    def answered(self, job: str, worker: str, verdicts: Sequence[Verdict], now: float, at: int) -> Output:
        """A worker has answered its batch."""
        return self._commit(
            lambda out: self._inference.answered(job, worker, verdicts, (now, at), out.predictions), now, at
        )

    def died(self, job: str, worker: str, reason: str, now: float, at: int) -> Output:
        """A worker is gone."""
        return self._commit(lambda out: self._inference.died(job, worker, reason, (now, at), out.predictions), now, at)

    def desire(self, job: str, node: str | None, document: bytes, now: float, at: int) -> Output:
        """Want an encoded OffloadPolicy for a job on one node (None: all that have none of their own).

        Raises ValueError for what is no policy of the job.
        """
        policy = wanted(job, node or "", document, at)

        def work(out: Output) -> None:
            self._store.save_policy(policy)
            self._reconcile(out, (now, at))

        return self._commit(work, now, at)

    def tick(self, now: float, at: int) -> Output:
        """Time passed: resend, run batches that waited for company, notice nodes that fell silent."""

        def work(out: Output) -> None:
            for node in self.presence.overdue(now):
                self._gone(node)
                out.notes.append(f"node {node}: offline, no heartbeat")
            self._bounds.expire(now)
            self._reconcile(out, (now, at))
            self._inference.tick((now, at), out.predictions)
            self._send(self._wakes.take(now), out, now, at)

        return self._commit(work, now, at)

    def wake_at(self) -> float | None:
        """Run time at which `tick` is due; None when nothing waits."""
        times = [time for time in (self._wakes.first(), self._inference.wake_at()) if time is not None]
        return max(min(times), self._paused) if times else None

    def offline(self) -> None:
        """The hub's own link is down: nothing is sent, everything is kept."""
        for node, sender in self._senders.items():
            sender.offline()
            self._wakes.put(node, None)

    def online(self) -> None:
        """The hub's own link is up again: who was there is served at once, whose beats stay away will be noticed."""
        for node, sender in self._senders.items():
            if self.presence.online(node):
                sender.online()
                self._wakes.put(node, 0.0)

    def reload(self) -> None:
        """A transaction failed: forget what was kept in memory of it."""
        self._woken.clear()
        self._receiver.reload()
        self._inference.reload()
        self._desired.reload()
        for node, sender in self._senders.items():
            sender.reload()
            self._wakes.put(node, 0.0)

    def _commit(self, work: Callable[[Output], None], now: float, at: int) -> Output:
        out = Output()
        try:
            with self._store.transaction():
                work(out)
                self._send(self._inference.take_woken(), out, now, at)
        except BaseException:
            self.reload()
            self._paused = now + FULL_S
            raise
        return out

    def _arrive(self, arrival: Arrival, outcomes: dict[str, Outcomes], out: Output, clock: Clock) -> None:
        try:
            address = channels.parse(arrival.topic)
            if arrival.retained and (address.channel is None or not address.channel.retain):
                raise BadPayload("a retained message on a channel that is never retained")
            self._dispatch(address, arrival.payload, outcomes, out, clock)
        except (channels.BadTopic, BadPayload) as error:
            self._quarantine(arrival, str(error), out, clock)

    def _dispatch(
        self, address: Address, payload: bytes, outcomes: dict[str, Outcomes], out: Output, clock: Clock
    ) -> None:
        node = address.node
        self.presence.heard(node, clock[0])
        if address.channel is channels.UP_STATUS:
            if self._status(node, decode(NodeStatus, payload), out, clock):
                outcomes.setdefault(node, Outcomes())
        elif address.channel is channels.UP_RECEIPT:
            self._sender(node).settle(decode(Receipt, payload), *clock)
            out.notes += self._desired.ended(node, self._sender(node).take_ended())
            self._woken.add(node)
        elif address.channel in (channels.UP_WANT, channels.UP_CHUNK):
            decode(address.channel.shape, payload)  # what is wrong with it is why it came here
        else:
            given = Delivered(node, address.path, address.channel, payload)
            reason = self._effects.apply(given, outcomes.setdefault(node, Outcomes()), clock[1])
            if reason:
                raise BadPayload(f"refused: {reason}")

    def _status(self, node: str, status: NodeStatus, out: Output, clock: Clock) -> bool:
        """Note who is there; True when the node should be greeted."""
        change = self.presence.take(node, status, clock[0])
        if change is Change.STALE:
            return False
        online = status.state == "online"
        self._store.save_node(NodeRecord(node, status, clock[1], online))
        self._receiver.forget(node, status.streams, clock[0] - FORGET_S)
        if change is Change.BORN:
            self._sender(node).online()
            self._woken.add(node)
            out.notes.append(f"node {node}: online, {status.backlog_rows} messages wait there")
        elif change is Change.DIED:
            self._gone(node)
            out.notes.append(f"node {node}: offline")
        else:
            self._sender(node).wake()
        if online:
            out.notes += self._desired.reconcile(node, status, clock)
            self._woken.add(node)
        return change is Change.BORN

    def _reconcile(self, out: Output, clock: Clock) -> None:
        """If something else is wanted than before, hold it against what every node runs that is there."""
        if self._desired.changed():
            for node, status in self.presence.there():
                out.notes += self._desired.reconcile(node, status, clock)
                self._woken.add(node)

    def _gone(self, node: str) -> None:
        self._sender(node).offline()
        self._wakes.put(node, None)
        record = self._store.node(node)
        if record is not None and record.online:
            self._store.save_node(structs.replace(record, online=False))

    def _send(self, nodes: Iterable[str], out: Output, now: float, at: int) -> None:
        woken, self._woken = self._woken, set()
        for node in sorted({*nodes, *woken}):
            sender = self._sender(node)
            sender.wake()
            out.posts += [Post(item.peer, item.path, item.payload) for item in sender.due(now, at)]
            self._wakes.put(node, sender.wake_at())

    def _sender(self, node: str) -> Sender:
        sender = self._senders.get(node)
        if sender is None:
            sender = Sender(self._store, node, self._stream, pace=self.options.pace, random=self._random)
            self._senders[node] = sender
            if self.presence.online(node):
                sender.online()
        return sender

    def _receipts(self, node: str, outcomes: Outcomes, at: int) -> Iterable[Post]:
        """One receipt, or several where many ids are due; an empty one greets a node that was born."""
        share = self.options.budget // max(1, self.presence.nodes_online)
        credit = max(4, min(self.options.credit, share))
        for start in range(0, max(1, len(outcomes.done)), MOST_IDS):
            self._replies += 1
            receipt = Receipt(
                event_id=f"{self._stream}-r.{self._replies}", timestamp=at, credit=credit,
                done=tuple(outcomes.done[start : start + MOST_IDS]),
                refused=tuple(outcomes.refused) if start == 0 else (),
                later=tuple(outcomes.deferred) if start == 0 else (),
            )  # fmt: skip
            yield Post(node, channels.DOWN_RECEIPT.path, encode(receipt, self.options.form))

    def _quarantine(self, arrival: Arrival, reason: str, out: Output, clock: Clock) -> None:
        now, at = clock
        topic = arrival.topic[:200]
        payload = arrival.payload
        item = Quarantined(topic=topic, reason=reason[:300], size=len(payload), head=payload[:HEAD], at=at)
        self._store.quarantine(item)
        self._store.count(Entry("", "", "", Outcome.QUARANTINED))
        out.notes += self._complaints.lines(topic, reason[:300], now)
