"""Whose signature counts on a node: fixed keys, or those in the newest key list that a root key has signed.

A key list is stored, safe from a power cut, before it counts, and then its keys replace all others. Its epoch never
goes back, and a state must be of just that epoch: so whoever stole a release key can reach no place that the next key
list does not leave behind.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct, msgpack

from messages.codec import BadPayload, decode
from messages.delivery.store import Store
from messages.shapes import STALE, Desired
from messages.signing import KEYS, MAX_KEY_LIST, KeyList, PublicKey, problem, public_key

KEPT: Final = "keys"
"""The name under which the last key list is stored."""


class Believed(Struct, frozen=True, kw_only=True):
    """A key list with the id of the root key that signed it: it counts as long as that root is trusted."""

    root: str
    content: bytes

    @property
    def key_list(self) -> KeyList:
        """What the root says."""
        return decode(KeyList, self.content)


def believed(kept: bytes | None, roots: Iterable[PublicKey]) -> Believed | None:
    """The stored key list, if one of these roots vouches for it."""
    found = msgpack.decode(kept, type=Believed) if kept else None
    return found if found and found.root in {root.id for root in roots} else None


class Trust:
    """One node's trust. With `roots` only key lists say which keys count, else `keys` do, and key lists are nothing."""

    def __init__(self, store: Store, namespace: str, *, keys: Iterable[PublicKey], roots: Iterable[PublicKey]) -> None:
        self._store = store
        self._namespace = namespace
        self._roots = {root.id: root for root in roots}
        self._keys = {key.id: key for key in keys}
        self._content = b""
        self.epoch = 0 if self._roots else None
        found = believed(store.kept(KEPT), self._roots.values())
        if found:
            self._follow(found)

    def learn(self, desired: Desired) -> None:
        """Take in the key list that came along, if it is news. Raises BadPayload, BadKey, StoreFull."""
        if self.epoch is None or not desired.key_list or desired.key_list == self._content:
            return
        found = self._read(desired)
        epoch = found.key_list.epoch
        if epoch < self.epoch:
            raise BadPayload(f"{STALE}key list of epoch {epoch} is older than {self.epoch}, which this node has")
        if epoch == self.epoch:
            raise BadPayload(f"key list: epoch {epoch} had another content before: who else has the root key?")
        with self._store.synced():
            self._store.keep(KEPT, msgpack.encode(found))
        self._follow(found)

    def unsigned(self, desired: Desired) -> str:
        """Why the signature of a state does not count; empty when it does."""
        if self.epoch == 0:
            return "no key list of the root has come yet: `cloud-hub keys init` makes one"
        return problem(desired.state, desired.signatures, self._keys)

    def misplaced(self, epoch: int) -> str:
        """Why a state of this epoch does not go with the key list; empty when it does."""
        if self.epoch in (None, epoch):
            return ""
        return f"{STALE}a state of epoch {epoch} does not go with the key list of epoch {self.epoch}"

    def _follow(self, found: Believed) -> None:
        self._content = found.content
        self.epoch = found.key_list.epoch
        keys = [public_key(text, "key list: a key") for text in found.key_list.keys]
        self._keys = {key.id: key for key in keys}

    def _read(self, desired: Desired) -> Believed:
        """In this order: size, signature, shape, namespace. Raises BadPayload, BadKey."""
        content, signatures = desired.key_list, desired.key_signatures
        if len(content) > MAX_KEY_LIST:
            raise BadPayload(f"key list of {len(content)} bytes: at most {MAX_KEY_LIST}")
        signed = [key for key, root in self._roots.items() if not problem(content, signatures, {key: root}, KEYS)]
        if not signed:
            raise BadPayload(f"key list: {problem(content, signatures, self._roots, KEYS)}")
        found = Believed(root=signed[0], content=content)
        try:
            key_list = found.key_list
        except BadPayload as error:
            raise BadPayload(f"key list: {error}") from error
        for number, text in enumerate(key_list.keys):
            public_key(text, f"key list: keys[{number}]")
        if key_list.namespace != self._namespace:
            raise BadPayload(f"key list: it is meant for namespace {key_list.namespace[:63]!r}")
        return found
