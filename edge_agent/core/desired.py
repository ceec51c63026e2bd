"""What the hub wants this node to run: believed only when it is signed for it, and newer than what it has.

What was accepted is stored, with its place (epoch, seq), before it is used, and read again at the next start. A place
never goes back, so an old state that is played again changes nothing. No clock has a say in it.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol

from msgspec import Struct, msgpack

from edge_agent.core.exchange import NodeOptions
from edge_agent.core.trust import Trust
from messages import channels
from messages.channels import HUB
from messages.codec import BadPayload, decode
from messages.delivery.rows import Entry, Outcome, split_id
from messages.delivery.store import Store, StoreFull
from messages.offload.shapes import MAX_POLICY, OffloadPolicy
from messages.shapes import (
    MAX_DOCUMENTS,
    MAX_STATE,
    PARTLY,
    STALE,
    Deferral,
    Desired,
    DesiredState,
    Envelope,
    Refusal,
)

MAX_MESSAGE: Final = 200_000
"""Bytes of a whole message: documents and state, a third more as text, and names."""

FULL_S: Final = 10.0
"""When the hub should offer again what a full disk could not take."""

POLICY: Final = "policy/"
"""So begins the name of a job's policy; the job's name follows."""

_RATCHET: Final = "desired"


class Adopter(Protocol):
    """A job, as far as the hub may change it."""

    @property
    def takes_policies(self) -> bool:
        """Whether its configuration lets the hub give it one."""

    def objection(self, policy: OffloadPolicy) -> str:
        """Why it could not adopt a policy; empty when it could."""

    def adopt(self, policy: OffloadPolicy) -> str:
        """Use a policy from now on. Returns why not; then the old one stays."""


class Ratchet(Struct, frozen=True, kw_only=True):
    """The last state that was accepted: its place, the SHA-256 of its bytes, and what was refused of it."""

    epoch: int = 0
    seq: int = 0
    content: bytes = b""
    refusal: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """What only grows."""
        return self.epoch, self.seq


class _Offer(Struct, frozen=True):
    """A document that its job can adopt."""

    name: str
    document: bytes
    job: str
    policy: OffloadPolicy


class DesiredNode:
    """One node's side of its desired state."""

    def __init__(self, store: Store, options: NodeOptions) -> None:
        self._store = store
        self._node = options.node
        self._trust = Trust(store, options.namespace, keys=options.keys, roots=options.roots)
        self._jobs: Mapping[str, Adopter] = {}
        self._policies: dict[str, str] = {}
        self._ratchet = msgpack.decode(store.kept(_RATCHET) or msgpack.encode(Ratchet()), type=Ratchet)
        self._refusal = self._ratchet.refusal
        self._news = False

    def start(self, jobs: Mapping[str, Adopter]) -> str:
        """Give the jobs what was accepted before; returns what of it they cannot use any more."""
        self._jobs = jobs
        problem = _partly(self._resume(job) for job in jobs)
        self._refusal = problem or self._refusal
        return problem

    def told(self) -> dict[str, Any]:
        """What the node's status says of it: its fields desired, refusal, policies and key_epoch."""
        takes = {job: self._policies.get(job, "") for job, adopter in self._jobs.items() if adopter.takes_policies}
        told = {"desired": self._ratchet.place, "refusal": self._refusal[:200], "policies": takes}
        return told | {"key_epoch": self._trust.epoch}

    def take_news(self) -> bool:
        """Whether `told` says something else since the last call."""
        news, self._news = self._news, False
        return news

    def take(self, payload: bytes) -> tuple[dict[str, Any], str]:
        """Take a Desired in: what the receipt says (its fields), and why it was refused, in part or as a whole.

        Raises BadPayload when not even its id can be read.
        """
        event_id = decode(Envelope, payload).event_id
        before = self.told()
        try:
            split_id(event_id)
            reason = self._accept(payload)
        except (BadPayload, ValueError) as error:
            reason = str(error)
            self._refusal = self._refusal if reason.startswith(STALE) else reason
        except StoreFull:
            return {"later": (Deferral(event_id=event_id, retry_s=FULL_S, reason="disk full"),)}, ""
        self._news = self._news or reason.startswith(STALE) or self.told() != before
        if reason:
            return {"refused": (Refusal(event_id=event_id, reason=reason[:200]),)}, reason
        return {"done": (event_id,)}, ""

    def _accept(self, payload: bytes) -> str:
        """Returns what was refused of a state that was accepted. Raises BadPayload, StoreFull."""
        desired, state = self._read(payload)
        content, place = sha256(desired.state).digest(), (state.epoch, state.seq)
        misplaced = self._trust.misplaced(state.epoch)
        if misplaced:
            raise BadPayload(misplaced)
        if place < self._ratchet.place:
            raise BadPayload(f"{STALE}{_said(place)} is older than {_said(self._ratchet.place)}, which this node has")
        if place == self._ratchet.place:
            if content != self._ratchet.content:
                raise BadPayload(f"{STALE}{_said(place)} had another content before: does somebody else sign too?")
            self._count(Outcome.KNOWN)
            return self._ratchet.refusal
        named = dict(_documents(desired, state))
        judged = [self._judge(name, document) for name, document in named.items()]
        offers = [item for item in judged if isinstance(item, _Offer)]
        refusal = _partly(item for item in judged if isinstance(item, str))
        ratchet = Ratchet(epoch=state.epoch, seq=state.seq, content=content, refusal=refusal[:200])
        with self._store.synced():
            for offer in offers:
                self._store.keep(offer.name, offer.document)
            self._store.keep(_RATCHET, msgpack.encode(ratchet))
            self._store.count(Entry(HUB, "", channels.DOWN_DESIRED.path, Outcome.STORED))
        self._ratchet = ratchet
        self._refusal = _partly(self._adopt(offer) for offer in offers) or refusal
        return self._refusal

    def _read(self, payload: bytes) -> tuple[Desired, DesiredState]:
        """In this order: size, key list, signature, shape, node. Raises BadPayload, BadKey, StoreFull."""
        if len(payload) > MAX_MESSAGE:
            raise BadPayload(f"{len(payload)} bytes: at most {MAX_MESSAGE}")
        desired = decode(Desired, payload)
        size = sum(map(len, desired.documents.values()))
        if len(desired.state) > MAX_STATE or size > MAX_DOCUMENTS:
            raise BadPayload(
                f"state of {len(desired.state)} and documents of {size} bytes: at most {MAX_STATE} and {MAX_DOCUMENTS}"
            )
        self._trust.learn(desired)
        problem = self._trust.unsigned(desired)
        if problem:
            raise BadPayload(problem)
        state = decode(DesiredState, desired.state)
        if state.node != self._node:
            raise BadPayload(f"it is meant for node {state.node[:63]!r}")
        return desired, state

    def _judge(self, name: str, document: bytes) -> _Offer | str:
        """A document that its job can adopt, or why that cannot be."""
        job = name.removeprefix(POLICY)
        if job == name:
            return f"{name[:80]}: this version does not know what it is"
        if job not in self._jobs:
            return f"{name[:80]}: this node has no such job"
        if len(document) > MAX_POLICY:
            return f"{name}: {len(document)} bytes, at most {MAX_POLICY}"
        try:
            policy = decode(OffloadPolicy, document)
        except BadPayload as error:
            return f"{name}: {error}"
        if policy.job != job:
            return f"{name}: it is for job {policy.job[:63]!r}"
        problem = self._jobs[job].objection(policy)
        return f"{name}: {problem}" if problem else _Offer(name, document, job, policy)

    def _adopt(self, offer: _Offer) -> str:
        problem = self._jobs[offer.job].adopt(offer.policy)
        if problem:
            return f"{offer.name}: {problem}"
        self._policies[offer.job] = sha256(offer.document).hexdigest()
        return ""

    def _resume(self, job: str) -> str:
        document = self._store.kept(POLICY + job)
        if document is None:
            return ""
        judged = self._judge(POLICY + job, document)
        return judged if isinstance(judged, str) else self._adopt(judged)

    def _count(self, outcome: Outcome) -> None:
        with self._store.transaction():
            self._store.count(Entry(HUB, "", channels.DOWN_DESIRED.path, outcome))


def _documents(desired: Desired, state: DesiredState) -> Iterator[tuple[str, bytes]]:
    """The documents by name. Raises BadPayload unless each is what its digest says."""
    for name, digest in state.digests.items():
        document = desired.documents.get(digest)
        if document is None:
            raise BadPayload(f"{name[:80]}: its document did not come along")
        if sha256(document).hexdigest() != digest:
            raise BadPayload(f"{name[:80]}: its document is another than its digest says")
        yield name, document


def _partly(problems: Iterable[str]) -> str:
    """One line of what was refused of an accepted state; empty when nothing was."""
    said = "; ".join(problem for problem in problems if problem)
    return f"{PARTLY}{said}" if said else ""


def _said(place: tuple[int, int]) -> str:
    return f"seq {place[1]} of epoch {place[0]}"
