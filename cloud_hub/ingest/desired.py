"""What each node should run, held against what it says that it runs: a Desired goes out only where they differ.

Every state has a place (epoch, seq) above all that the node has had, so a hub that was restored from an old backup goes
on above what the node reports. What a node refused is offered again when something else is wanted, when the node has
started again, or when it runs other models or takes other policies than it did.

A node that trusts a root gets the hub's key list with its next state when it has an older one, and its states are of
just the list's epoch.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Final

from msgspec import msgpack, structs

from cloud_hub.ingest.exchange import HubOptions, SigningKeys
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
        self._told: tuple[int, SigningKeys | None] | None = None
        self._mark = -1
        self._keys: SigningKeys | None = None
        self._wanted: dict[tuple[str, str], str] = {}
        self._stuck: dict[str, str] = {}

    def changed(self) -> bool:
        """Whether another policy is wanted, or other keys sign: a command may have done it, beside this process."""
        self._load()
        before, self._told = self._told, (self._mark, self._keys)
        return before != self._told

    def reload(self) -> None:
        """A transaction failed: what it wanted is not wanted."""
        self._told, self._mark = None, -1

    def reconcile(self, node: str, status: NodeStatus, clock: tuple[float, int]) -> list[str]:
        """Put into the outbox what the node should run, if that differs; returns lines for the log."""
        self._load()
        digests = {POLICY + job: digest for job in sorted(status.releases) if (digest := self._digest(job, node))}
        if self._keys is None or not (digests or status.key_epoch is not None):
            return []
        issued = self._store.issued(node) or Issued(node)
        place = _next(self._keys, issued, status)
        before, self._stuck[node] = self._stuck.get(node, ""), _stuck(self._keys, status, place)
        if self._stuck[node]:
            return [f"node {node}: {self._stuck[node]}"] if self._stuck[node] != before else []
        if not self._differs(issued, status, digests, clock):
            return []
        state = encode(DesiredState(node=node, epoch=place[0], seq=place[1], digests=digests))
        return self._issue(Issued(node, *place, state, _fits(status)), status, digests, clock)

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
        self._keys = self._options.keys and self._options.keys()
        mark = self._store.policy_mark()
        if mark != self._mark:
            self._mark = mark
            self._wanted = {(job, node): digest for job, node, digest in self._store.policies()}

    def _digest(self, job: str, node: str) -> str:
        return self._wanted.get((job, node)) or self._wanted.get((job, ""), "")

    def _differs(
        self, issued: Issued, status: NodeStatus, digests: Mapping[str, str], clock: tuple[float, int]
    ) -> bool:
        """Whether the node should have another state than it was sent; that one is sent again where it has not come."""
        assert self._keys is not None, "reconcile asks for them"
        due = _is_due(self._keys, status)
        runs = all(status.policies.get(name.removeprefix(POLICY)) == digest for name, digest in digests.items())
        passed = status.key_epoch is not None and 0 < self._keys.epoch != issued.epoch
        if passed or digests != _digests(issued) or issued.place < status.desired:
            return due or not runs or issued.place > status.desired
        if issued.refused and issued.fits != _fits(status):
            return True
        missing = due or issued.place > status.desired
        if missing and not (_whole(issued.refused) and _whole(status.refusal)):
            self._offer(issued, status, digests, clock)
        return False

    def _issue(
        self, issued: Issued, status: NodeStatus, digests: Mapping[str, str], clock: tuple[float, int]
    ) -> list[str]:
        problem = self._offer(issued, status, digests, clock)
        if problem and self._keys is not None and _is_due(self._keys, status):  # a stolen key must not outlive that
            bare = encode(DesiredState(node=issued.node, epoch=issued.epoch, seq=issued.seq, digests={}))
            self._offer(structs.replace(issued, state=bare), status, {}, clock)
        self._store.save_issued(structs.replace(issued, refused=problem))
        return [f"node {issued.node}: {problem}"] if problem else []

    def _offer(self, issued: Issued, status: NodeStatus, digests: Mapping[str, str], clock: tuple[float, int]) -> str:
        """Put a state into the outbox unless it waits there already; returns why it cannot travel."""
        now, at = clock
        documents = {digest: self._store.policy_document(digest) for digest in digests.values()}
        if len(issued.state) > MAX_STATE or sum(map(len, documents.values())) > MAX_DOCUMENTS:
            return f"what it should run has more than {MAX_DOCUMENTS} bytes and does not travel"
        keys = self._keys
        assert keys is not None, "reconcile asks for them"
        desired = Desired(
            event_id="", timestamp=at, state=issued.state, signatures=(keys.sign(issued.state),), documents=documents
        )  # fmt: skip
        if _is_due(keys, status):
            desired = structs.replace(desired, key_list=keys.key_list, key_signatures=keys.signatures)
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


def _is_due(keys: SigningKeys, status: NodeStatus) -> bool:
    """Whether a node has need of the key list."""
    return status.key_epoch is not None and status.key_epoch < keys.epoch


def _next(keys: SigningKeys, issued: Issued, status: NodeStatus) -> tuple[int, int]:
    """The place of a node's next state; a node that takes key lists takes only states of their epoch."""
    places = (issued.place, status.desired)
    if status.key_epoch is not None and keys.epoch:
        return keys.epoch, 1 + max(seq if epoch == keys.epoch else 0 for epoch, seq in places)
    epoch, seq = max(*places, (keys.epoch, 0))
    return (epoch or 1, seq + 1) if seq < _LAST else (min(epoch + 1, _LAST), 1)


def _stuck(keys: SigningKeys, status: NodeStatus, place: tuple[int, int]) -> str:
    """Why a node can be sent nothing before a person acts; empty when it can."""
    if status.key_epoch is None:
        return ""
    ours = f"this hub's key list has epoch {keys.epoch}" if keys.epoch else "this hub has no key list"
    beyond = "go beyond it with `cloud-hub keys rotate --epoch"
    if status.key_epoch > keys.epoch:
        theirs = f"its key list has epoch {status.key_epoch}, and {ours}"
        return f"{theirs}: restore the newer release.key, or {beyond} {status.key_epoch + 1}`"
    epoch, _ = status.desired
    if 0 < keys.epoch < epoch:
        return f"it had a state of epoch {epoch}, and {ours}: {beyond} {epoch + 1}`"
    if keys.epoch and place[1] > _LAST:
        return f"epoch {keys.epoch} is used up: was the release key stolen? `cloud-hub keys rotate` begins another"
    return ""


def _whole(refusal: str) -> bool:
    """Whether nothing was accepted. A node that says so no longer has started again, and may trust another key."""
    return bool(refusal) and not refusal.startswith(PARTLY)


def _digests(issued: Issued) -> dict[str, str]:
    return decode(DesiredState, issued.state).digests if issued.state else {}


def _fits(status: NodeStatus) -> bytes:
    """Stands for what decides whether a node can adopt a policy: its models, which jobs take one, and its key list."""
    about = sorted(status.releases.items()), sorted(status.policies), status.key_epoch
    return blake2b(msgpack.encode(about), digest_size=16).digest()
