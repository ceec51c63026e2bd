"""What a hub wants of a node, signed, as the node's core takes it."""

from hashlib import sha256
from typing import Any

from messages.codec import encode
from messages.offload.shapes import OffloadPolicy
from messages.shapes import Desired, DesiredState
from messages.signing import KEYS, KeyList, Signer
from tests.support.messages import AT, SIGNER

ROOT = Signer(bytes([7]) * 32)


class Adopts:
    """A job as far as the hub may change it."""

    def __init__(self, *, rule: str = "offload") -> None:
        self.takes_policies = rule == "offload"
        self.versions: list[int] = []
        self.problem = "" if self.takes_policies else f"its policy is {rule!r}"

    def objection(self, policy: OffloadPolicy) -> str:
        return self.problem

    def adopt(self, policy: OffloadPolicy) -> str:
        if not self.problem:
            self.versions.append(policy.version)
        return self.problem


def policy(version: int, job: str = "digits", **fields: Any) -> bytes:
    """A policy's document."""
    return encode(OffloadPolicy(job=job, version=version, **fields))


def digest(document: bytes) -> str:
    return sha256(document).hexdigest()


def state(seq: int = 1, *documents: bytes, epoch: int = 1, node: str = "cam-1", names: tuple[str, ...] = ()) -> bytes:
    """A state with these documents, the first of them the policy of the job digits."""
    names = names or ("policy/digits", "policy/letters", "policy/faces")
    digests = {name: digest(document) for name, document in zip(names, documents, strict=False)}
    return encode(DesiredState(node=node, epoch=epoch, seq=seq, digests=digests))


def key_list(epoch: int, *signers: Signer, root: Signer = ROOT, namespace: str = "default") -> dict[str, Any]:
    """The fields of a Desired in which a root vouches for release keys."""
    keys = tuple(str(signer.public) for signer in signers or (SIGNER,))
    content = encode(KeyList(namespace=namespace, epoch=epoch, keys=keys, created=AT))
    return signed_list(content, root)


def signed_list(content: bytes, root: Signer = ROOT) -> dict[str, Any]:
    """The fields of a Desired that carry any bytes as a key list."""
    return {"key_list": content, "key_signatures": (root.sign(content, KEYS),)}


def desired(signed: bytes, *documents: bytes, signer: Signer = SIGNER, number: int = 0, **fields: Any) -> Desired:
    """The message that carries a state."""
    given: dict[str, Any] = {
        "event_id": f"h.{number}", "timestamp": AT, "state": signed, "signatures": (signer.sign(signed),),
        "documents": {digest(document): document for document in documents},
    }  # fmt: skip
    return Desired(**(given | fields))
