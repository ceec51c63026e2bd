"""Ed25519 signatures over the bytes that travel: keys as text, signing, and whom a node believes.

There are two roles. The release key is online and signs what nodes run; the root key lies apart and signs only the list
of release keys that count, so that a stolen release key can be taken out of use.

`cryptography` is imported where a key is used: an agent that never hears of a desired state does without its 13 MB.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Final

from msgspec import Meta, Struct

from messages.shapes import Natural, Signature

DOMAIN: Final = b"skerry/desired/1\0"
KEYS: Final = b"skerry/keys/1\0"
"""What is signed begins with one of them: a signature means a desired state, or a key list, and nothing else."""

MAX_KEY_LIST: Final = 4096
"""Bytes of an encoded KeyList."""

_PREFIX: Final = "ed25519:"


class BadKey(ValueError):
    """Text that is no public key."""


class KeyList(Struct, frozen=True, kw_only=True):
    """The release keys (as text) that count in one namespace, signed by its root as MessagePack.

    Of two lists the one with the higher `epoch` counts, and only states of just this epoch go with it. `created` (ms)
    is for people: no clock decides anything.
    """

    namespace: str
    epoch: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    keys: Annotated[tuple[str, ...], Meta(min_length=1, max_length=8)]
    created: Natural = 0


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

    def sign(self, content: bytes, domain: bytes = DOMAIN) -> Signature:
        """Sign an encoded DesiredState, or with the domain KEYS a KeyList."""
        return Signature(key=self.public.id, signature=self._key.sign(domain + content))


def public_key(text: str, place: str) -> PublicKey:
    """Read a key that is written "ed25519:BASE64". Raises BadKey that names the place where it stands."""
    try:
        raw = b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32 or not text.strip().startswith(_PREFIX):
        raise BadKey(f'{place} = {text[:60]!r}: a public key is written "ed25519:" and 44 characters of base64')
    return PublicKey(raw)


def problem(
    content: bytes, signatures: Sequence[Signature], trusted: Mapping[str, PublicKey], domain: bytes = DOMAIN
) -> str:
    """Why nobody who is trusted (keys by their ids) signed these bytes; empty when somebody did."""
    if not trusted:
        return "no key is trusted here: put the hub's line into [trust] of agent.toml"
    known = [signature for signature in signatures if signature.key in trusted]
    if not known:
        return f"signed by key {', '.join(s.key[:16] for s in signatures) or 'none'}, which is not trusted here"
    if any(_is_valid(signature, domain + content, trusted[signature.key]) for signature in known):
        return ""
    return f"the signature of key {known[0].key} is wrong"


def _is_valid(signature: Signature, content: bytes, key: PublicKey) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature.signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True
