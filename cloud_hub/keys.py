"""The hub's keys: the release key, which signs what nodes run, and the root key, which says which release key counts.

The release key lies on the hub, online, for learning is unattended: a signature protects a node against everyone but a
taken hub. The root key is meant for a medium that lies in a drawer; only `cloud-hub keys` reads it. The release key and
the key list that vouches for it stand in one file, so that a change of keys is one rename: the old or the new, whole.
"""

import logging
import os
import secrets
from pathlib import Path
from typing import Final

from msgspec import DecodeError, Struct, json, structs

from cloud_hub.ingest.exchange import SigningKeys
from messages.codec import BadPayload, decode, encode
from messages.host.folder import FolderError, locked
from messages.shapes import Signature
from messages.signing import KEYS, BadKey, KeyList, Signer, problem, public_key

FILE: Final = "keys/release.key"
NAME: Final = "release.key"
"""The credential in which systemd may hand the hub the same file."""

_BEGIN: Final = "ed25519-private:"

_log = logging.getLogger("cloud_hub")


class Vouched(Struct, frozen=True, kw_only=True):
    """An encoded KeyList, the root's signature, and the root's public key as text, by which nodes know the hub."""

    root: str
    key_list: bytes
    signature: Signature


class ReleaseKey(Struct, frozen=True):
    """A hub's release key, the file it lies in, and what vouches for it: nothing where there is no root."""

    file: Path
    signer: Signer
    key_list: KeyList | None = None
    vouched: Vouched | None = None

    @property
    def line(self) -> str:
        """What a person puts under [trust] in agent.toml."""
        return f'root = ["{self.vouched.root}"]' if self.vouched else f'keys = ["{self.signer.public}"]'

    @property
    def epoch(self) -> int:
        """The key list's; 0 without one."""
        return self.key_list.epoch if self.key_list else 0

    @property
    def signing(self) -> SigningKeys:
        """As the core wants it."""
        if self.vouched is None:
            return SigningKeys(sign=self.signer.sign)
        signatures = (self.vouched.signature,)
        return SigningKeys(
            sign=self.signer.sign, epoch=self.epoch, key_list=self.vouched.key_list, signatures=signatures
        )


class Keyring:
    """The release key of a hub that runs. Raises FolderError when there is no good one at the start."""

    def __init__(self, data_dir: Path) -> None:
        self._file = place(data_dir)
        self._stamp = self._look()
        self._signing = release_key(self._file).signing

    def now(self) -> SigningKeys:
        """The keys in force: others when a command has changed them. A file that is bad meanwhile changes nothing."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._signing = release_key(self._file, make=False).signing
                _log.info("the release key is another, its key list has epoch %d", self._signing.epoch)
            except FolderError as error:
                _log.error("%s; the keys that were there before stay in force", error)
        return self._signing

    def _look(self) -> tuple[int, int]:
        try:
            found = self._file.stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns


def place(data_dir: Path) -> Path:
    """Where the release key lies: among systemd's credentials if it is there, else in the data folder."""
    credential = _credentials() / NAME
    return credential if credential.exists() else data_dir / FILE


def release_key(file: Path, *, make: bool = True) -> ReleaseKey:
    """Read the release key; it is made when there is none, unless `make` is False. Raises FolderError."""
    if make and not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(file, secrets.token_bytes(32), new=True)
    seed, rest = _read(file)
    if not rest:
        return ReleaseKey(file, Signer(seed))
    try:
        vouched = json.decode(rest, type=Vouched)
        root = public_key(vouched.root, "root")
        key_list = decode(KeyList, vouched.key_list)
    except (DecodeError, BadPayload, BadKey) as error:
        raise FolderError(f"{file}: its key list cannot be read: {error}") from error
    said = problem(vouched.key_list, [vouched.signature], {root.id: root}, KEYS)
    if said or str(Signer(seed).public) not in key_list.keys:
        raise FolderError(f"{file}: its key list does not vouch for its key: {said or 'it names others'}")
    return ReleaseKey(file, Signer(seed), key_list, vouched)


def root_key(file: Path, *, make: bool = False) -> Signer:
    """Read a root key; with `make` it is made when there is none. Raises FolderError."""
    if make and not file.exists():
        _write(file, secrets.token_bytes(32), new=False)
    return Signer(_read(file)[0])


def vouch(file: Path, root: Signer, key_list: KeyList, *, renew: bool) -> ReleaseKey:
    """Let a root sign `key_list`, in which the keys are filled in: the present one, or with `renew` one that is made.

    Raises FolderError.
    """
    with locked(file.parent, "keys"):
        seed = secrets.token_bytes(32) if renew else _read(file)[0]
        content = encode(structs.replace(key_list, keys=(str(Signer(seed).public),)))
        vouched = Vouched(root=str(root.public), key_list=content, signature=root.sign(content, KEYS))
        _write(file, seed, json.encode(vouched).decode(), new=False)
    return release_key(file, make=False)


def _credentials() -> Path:
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"))


def _read(file: Path) -> tuple[bytes, str]:
    """The private key in a file, and the text below it. Raises FolderError."""
    # systemd lets a service read its credentials by an access list, which shows as the group's mode
    strangers = 0o007 if file.parent == _credentials() else 0o077
    try:
        mode, rest = file.stat().st_mode, ""
        first, _, rest = file.read_text().partition("\n")
        seed = bytes.fromhex(first.strip().removeprefix(_BEGIN))
    except OSError as error:
        raise FolderError(f"{file}: {error.strerror}") from error
    except ValueError:
        seed = b""
    if mode & strangers:
        raise FolderError(f"{file}: others on this machine can read or write it: chmod 600 {file}")
    if len(seed) != 32:
        raise FolderError(f'{file}: holds no key; it should be "{_BEGIN}" and 64 hexadecimal digits')
    return seed, rest.strip()


def _write(file: Path, seed: bytes, rest: str = "", *, new: bool) -> None:
    """Whole or not at all, for its owner alone; of two processes that make a `new` one, the first wins."""
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            if file.exists():  # a command that root runs leaves it to the hub's user
                os.fchown(out.fileno(), file.stat().st_uid, file.stat().st_gid)
            out.write(f"{_BEGIN}{seed.hex()}\n{rest}")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(part, file) if new else part.replace(file)
        except FileExistsError:
            pass
        finally:
            part.unlink(missing_ok=True)
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise FolderError(f"{file}: {error.strerror}") from error
