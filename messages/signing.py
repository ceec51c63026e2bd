"""Ed25519 signatures over the bytes that travel: keys as text, signing, and whom a node believes.

`cryptography` is imported where a key is used: an agent that never hears of a desired state does without its 13 MB.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct

from messages.shapes import Signature

DOMAIN: Final = b"skerry/desired/1\0"
"""What is signed begins with it, so that a signature means a desired state and nothing else."""

_PREFIX: Final = "ed25519:"


class BadKey(ValueError):
    """Text that is no public key."""


class PublicKey(Struct, frozen=True):
    """The 32 bytes of an Ed25519 public key."""

    raw: bytes

    @property
    def id(self) -> str:
        """How signatures name it: the first 16 hex digits of its SHA-256."""
        return sha256(self.raw).hexdigest()[:16]

    def __str__(self) -> str:
        return _PREFIX + b64encode(self.raw).decode()


class Signer:
    """A private key, from its 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, state: bytes) -> Signature:
        """Sign an encoded DesiredState."""
        return Signature(key=self.public.id, signature=self._key.sign(DOMAIN + state))


def public_key(text: str, place: str) -> PublicKey:
    """Read a key that is written "ed25519:BASE64". Raises BadKey that names the place where it stands."""
    try:
        raw = b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32 or not text.strip().startswith(_PREFIX):
        raise BadKey(f'{place} = {text[:60]!r}: a public key is written "ed25519:" and 44 characters of base64')
    return PublicKey(raw)


def problem(state: bytes, signatures: Sequence[Signature], trusted: Mapping[str, PublicKey]) -> str:
    """Why nobody who is trusted (keys by their ids) signed these bytes; empty when somebody did."""
    if not trusted:
        return "no key is trusted here: put the hub's into [trust] keys of agent.toml"
    known = [signature for signature in signatures if signature.key in trusted]
    if not known:
        return f"signed by key {', '.join(s.key[:16] for s in signatures) or 'none'}, which is not trusted here"
    if any(_is_valid(signature, state, trusted[signature.key]) for signature in known):
        return ""
    return f"the signature of key {known[0].key} is wrong"


def _is_valid(signature: Signature, state: bytes, key: PublicKey) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature.signature, DOMAIN + state)
    except (InvalidSignature, ValueError):
        return False
    return True
