"""A simulated hub's keys, whether a root vouches for them, and what somebody sends who has stolen the release key."""

from hashlib import sha256
from random import Random

from cloud_hub.ingest.exchange import SigningKeys
from edge_agent.core.desired import POLICY
from messages.codec import encode
from messages.offload.shapes import OffloadPolicy
from messages.shapes import Desired, DesiredState
from messages.signing import KEYS, KeyList, PublicKey, Signer

LAST = 2**53 - 1
STOLEN = 666
"""The version of a thief's policy."""


class WorldsKeys:
    """The keys of one world. Without a root nodes know the release key, which stays the same."""

    def __init__(self, random: Random, namespace: str, *, rooted: bool) -> None:
        self.epoch = 0
        self.stolen = False
        self._random = random
        self._namespace = namespace
        self._root = Signer(random.randbytes(32)) if rooted else None
        self._release = Signer(random.randbytes(32))
        self.signing = SigningKeys(sign=self._release.sign)
        self.fixed = () if rooted else (self._release.public,)
        self.rotate()

    @property
    def roots(self) -> tuple[PublicKey, ...]:
        """What nodes are told."""
        return (self._root.public,) if self._root else ()

    def rotate(self) -> None:
        """A person makes another release key, one epoch higher; without a root nobody can."""
        if self._root is None:
            return
        self.epoch += 1
        self._release = Signer(self._random.randbytes(32))
        keys = (str(self._release.public),)
        content = encode(KeyList(namespace=self._namespace, epoch=self.epoch, keys=keys))
        signatures = (self._root.sign(content, KEYS),)
        self.signing = SigningKeys(sign=self._release.sign, epoch=self.epoch, key_list=content, signatures=signatures)
        self.stolen = False

    def forged(self, node: str, job: str) -> bytes:
        """A policy of a thief's at the last place of this epoch, or of all."""
        self.stolen = True
        document = encode(OffloadPolicy(job=job, version=STOLEN))
        digest = sha256(document).hexdigest()
        epoch = self._random.choice([self.epoch, LAST])
        state = encode(DesiredState(node=node, epoch=epoch, seq=LAST, digests={POLICY + job: digest}))
        return encode(
            Desired(
                event_id="thief.1", timestamp=0, state=state, signatures=(self._release.sign(state),),
                documents={digest: document},
            )
        )  # fmt: skip
