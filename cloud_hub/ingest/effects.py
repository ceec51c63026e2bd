"""What a reliable message does at the hub, once: judge its id, store its effect, and say how it ended."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from cloud_hub.ingest.inference import Inference
from cloud_hub.store.protocol import HubStore
from messages import channels
from messages.channels import Channel
from messages.codec import BadPayload, decode, fingerprint
from messages.delivery.receiver import Receiver, Verdict
from messages.delivery.rows import Entry, Outcome, split_id
from messages.shapes import Deferral, Envelope, HardSample, JobMessage, Refusal, Report

MAX_PAYLOAD: Final = 1_000_000
"""Bytes of one message; the broker's own limit lies a little above."""

NEWER_RETRY_S: Final = 3600.0
"""When to offer again what only a later version of the hub will understand."""

_REFUSED: Final = b"refused"
"""Stands for the content of a message that was refused, so that a resend is refused again."""


@dataclass(slots=True)
class Outcomes:
    """What the receipts to one node will say."""

    done: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    deferred: list[Deferral] = field(default_factory=list)

    def later(self, event_id: str, retry_s: float, reason: str) -> None:
        """Ask for a message again."""
        self.deferred.append(Deferral(event_id=event_id, retry_s=retry_s, reason=reason))


class Delivered(Struct, frozen=True):
    """A message on a reliable channel: who sent it is what the topic says."""

    node: str
    path: str
    channel: Channel[Envelope] | None
    payload: bytes


class Effects:
    """Applies reliable messages inside the caller's transaction."""

    def __init__(self, store: HubStore, receiver: Receiver, inference: Inference) -> None:
        self._store = store
        self._receiver = receiver
        self._inference = inference
        self._handlers: dict[str, Callable[[str, Envelope, int], Refusal | Deferral | Outcome]] = {
            channels.UP_SAMPLE.path: self._sample,
            channels.UP_REPORT.path: self._report,
        }

    def apply(self, given: Delivered, outcomes: Outcomes, at: int) -> str:
        """Store the message's effect and note its outcome; returns why it was refused, empty when it was not.

        Raises BadPayload when not even its id can be read.
        """
        message, problem = _read(given)
        if problem is None and isinstance(message, HardSample):
            problem = self._inference.objection(message)
        handler = self._handlers.get(given.path)
        if handler is None or (problem is not None and problem.newer):
            outcomes.later(message.event_id, NEWER_RETRY_S, f"this hub does not take {given.path} of this kind yet")
            return ""
        content = fingerprint(message) if problem is None else _REFUSED
        try:
            verdict = self._receiver.judge(given.node, message, content)
        except ValueError as error:
            raise BadPayload(str(error)) from error
        settled = verdict is Verdict.SEEN or (verdict is Verdict.PASSED and self._has(given.node, message))
        if settled and problem is None:
            outcomes.done.append(message.event_id)
            return ""
        if verdict in (Verdict.NEW, Verdict.PASSED) and problem is None:
            return self._first(given, message, content, outcomes, at)
        reason = str(problem) if problem is not None else str(verdict)
        self._refuse(given, message, reason, outcomes, first=verdict is Verdict.NEW)
        return reason

    def _has(self, node: str, message: Envelope) -> bool:
        """Whether the effect is there, by its natural key; of reports the latest says it all."""
        return not isinstance(message, HardSample) or self._store.has_sample(node, message.job, message.sample_id)

    def _first(self, given: Delivered, message: Envelope, content: bytes, outcomes: Outcomes, at: int) -> str:
        result = self._handlers[given.path](given.node, message, at)
        if isinstance(result, Deferral):
            outcomes.deferred.append(result)
            return ""
        if isinstance(result, Refusal):
            self._refuse(given, message, result.reason, outcomes, first=True)
            return result.reason
        self._receiver.keep(given.node, message, content)
        self._count(given, message, result)
        outcomes.done.append(message.event_id)
        return ""

    def _refuse(self, given: Delivered, message: Envelope, reason: str, outcomes: Outcomes, *, first: bool) -> None:
        outcomes.refused.append(Refusal(event_id=message.event_id, reason=reason[:200]))
        if first:
            self._receiver.keep(given.node, message, _REFUSED)
            self._count(given, message, Outcome.REFUSED)

    def _count(self, given: Delivered, message: Envelope, outcome: Outcome) -> None:
        job = message.job if isinstance(message, JobMessage) else ""
        self._store.count(Entry(given.node, job, given.path, outcome))

    def _sample(self, node: str, message: Envelope, at: int) -> Refusal | Deferral | Outcome:
        assert isinstance(message, HardSample)
        return self._inference.take_sample(node, message, at)

    def _report(self, node: str, message: Envelope, at: int) -> Refusal | Deferral | Outcome:
        assert isinstance(message, Report)
        if not self._inference.has(message.job):
            return self._inference.unknown(message)
        self._store.save_report(node, message, at)
        return Outcome.STORED


def _read(given: Delivered) -> tuple[Envelope, BadPayload | None]:
    """The message, or only its envelope and what is wrong with the rest. Raises BadPayload when its id is none."""
    message, problem = _decoded(given)
    try:
        split_id(message.event_id)
    except ValueError as error:
        raise BadPayload(str(error)) from error
    return message, problem


def _decoded(given: Delivered) -> tuple[Envelope, BadPayload | None]:
    if len(given.payload) > MAX_PAYLOAD:
        return decode(Envelope, given.payload), BadPayload(f"{len(given.payload)} bytes: at most {MAX_PAYLOAD} travel")
    try:
        return decode(given.channel.shape if given.channel is not None else Envelope, given.payload), None
    except BadPayload as error:
        return decode(Envelope, given.payload), error
