"""What each node should run, held against what it says that it runs: a Desired goes out only where they differ.

Every state has a place (epoch, seq) above all that the node has had, so a hub that was restored from an old backup goes
on above what the node reports. What a node refused is offered again when something else is wanted, when the node has
started again, or when it runs other models or takes other policies than it did.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Final

from msgspec import msgpack, structs

from cloud_hub.ingest.exchange import HubOptions
from cloud_hub.store.protocol import HubStore, Issued, WantedPolicy
from messages import channels
from messages.codec import decode, encode, encode_body
from messages.delivery.bounds import Bounds
from messages.delivery.rows import Draft, Kind, Row
from messages.offload.shapes import MAX_POLICY, OffloadPolicy
from messages.shapes import MAX_DOCUMENTS, MAX_STATE, PARTLY, STALE, Desired, DesiredState, NodeStatus

POLICY: Final = "policy/"
_LAST: Final = 2**53 - 1
_PATH: Final = channels.DOWN_DESIRED.path


class DesiredHub:
    """The hub's side of all nodes' desired states. Every method runs inside the caller's transaction."""

    def __init__(self, store: HubStore, bounds: Bounds, options: HubOptions) -> None:
        self._store = store
        self._bounds = bounds
        self._options = options
        self._told = self._mark = -1
        self._wanted: dict[tuple[str, str], str] = {}

    def changed(self) -> bool:
        """Whether another policy is wanted than at the last call: a command may have set it, beside this process."""
        self._load()
        before, self._told = self._told, self._mark
        return before != self._mark

    def reload(self) -> None:
        """A transaction failed: what it wanted is not wanted."""
        self._told = self._mark = -1

    def reconcile(self, node: str, status: NodeStatus, clock: tuple[float, int]) -> list[str]:
        """Put into the outbox what the node should run, if that differs; returns lines for the log."""
        self._load()
        digests = {POLICY + job: digest for job in sorted(status.releases) if (digest := self._digest(job, node))}
        if self._options.sign is None or not digests:
            return []
        issued = self._store.issued(node) or Issued(node)
        runs = all(status.policies.get(name.removeprefix(POLICY)) == digest for name, digest in digests.items())
        if digests != _digests(issued) or issued.place < status.desired:
            news = not runs or issued.place > status.desired
        else:
            news = bool(issued.refused) and issued.fits != _fits(status)
            if not news and issued.place > status.desired and not (_whole(issued.refused) and _whole(status.refusal)):
                self._offer(issued, digests, clock)
        return self._issue(issued, status, digests, clock) if news else []

    def ended(self, node: str, rows: Sequence[tuple[Row, str]]) -> list[str]:
        """Some of the node's rows became dead letters, and why; returns lines for the log."""
        issued = self._store.issued(node)
        for row, reason in rows:
            if row.path == _PATH and issued is not None and row.key == issued.key:
                fits = b"" if reason.startswith(STALE) else issued.fits
                self._store.save_issued(structs.replace(issued, refused=reason, fits=fits))
                return [f"node {node}: does not take all that it should run: {reason}"]
        return []

    def _load(self) -> None:
        mark = self._store.policy_mark()
        if mark != self._mark:
            self._mark = mark
            self._wanted = {(job, node): digest for job, node, digest in self._store.policies()}

    def _digest(self, job: str, node: str) -> str:
        return self._wanted.get((job, node)) or self._wanted.get((job, ""), "")

    def _issue(
        self, before: Issued, status: NodeStatus, digests: Mapping[str, str], clock: tuple[float, int]
    ) -> list[str]:
        epoch, seq = max(before.place, status.desired)
        epoch, seq = (epoch or 1, seq + 1) if seq < _LAST else (min(epoch + 1, _LAST), 1)
        state = encode(DesiredState(node=before.node, epoch=epoch, seq=seq, digests=dict(digests)))
        issued = Issued(before.node, epoch, seq, state, _fits(status))
        problem = self._offer(issued, digests, clock)
        self._store.save_issued(structs.replace(issued, refused=problem))
        return [f"node {before.node}: {problem}"] if problem else []

    def _offer(self, issued: Issued, digests: Mapping[str, str], clock: tuple[float, int]) -> str:
        """Put a state into the outbox unless it waits there already; returns why it cannot travel."""
        now, at = clock
        documents = {digest: self._store.policy_document(digest) for digest in digests.values()}
        if len(issued.state) > MAX_STATE or sum(map(len, documents.values())) > MAX_DOCUMENTS:
            return f"what it should run has more than {MAX_DOCUMENTS} bytes and does not travel"
        assert self._options.sign is not None, "reconcile asks for it"
        signature = self._options.sign(issued.state)
        desired = Desired(
            event_id="", timestamp=at, state=issued.state, signatures=(signature,), documents=documents
        )  # fmt: skip
        self._bounds.put(
            Draft(peer=issued.node, path=_PATH, job="", kind=Kind.CONTROL, key=issued.key, slot="desired", created=now,
                  body=encode_body(desired, self._options.form))
        )  # fmt: skip
        return ""


def wanted(job: str, node: str, document: bytes, at: int) -> WantedPolicy:
    """A policy as the store keeps it; `node` "" means every node that has none of its own.

    Raises ValueError when the document is no policy, or is another job's.
    """
    policy = decode(OffloadPolicy, document)
    if policy.job != job:
        raise ValueError(f"the policy is for job {policy.job!r}, not {job!r}")
    if len(document) > MAX_POLICY:
        raise ValueError(f"the policy has {len(document)} bytes: at most {MAX_POLICY}")
    return WantedPolicy(job, node, policy.version, sha256(document).hexdigest(), document, at)


def _whole(refusal: str) -> bool:
    """Whether nothing was accepted. A node that says so no longer has started again, and may trust another key."""
    return bool(refusal) and not refusal.startswith(PARTLY)


def _digests(issued: Issued) -> dict[str, str]:
    return decode(DesiredState, issued.state).digests if issued.state else {}


def _fits(status: NodeStatus) -> bytes:
    """Stands for the models that a node runs and the policies that it takes: what decides whether it can adopt one."""
    about = sorted(status.releases.items()), sorted(status.policies)
    return blake2b(msgpack.encode(about), digest_size=16).digest()
