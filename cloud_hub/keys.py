"""The hub's release key: it signs what nodes run. It lies on the hub, online, for learning is unattended.

So a signature protects a node against everyone but a taken hub.
"""

import os
import secrets
from pathlib import Path
from typing import Final

from messages.host.folder import FolderError
from messages.signing import Signer

FILE: Final = "keys/release.key"
_BEGIN: Final = "ed25519-private:"


def release_key(data_dir: Path) -> Signer:
    """The key of the hub with this data folder; it is made when there is none. Raises FolderError."""
    file = data_dir / FILE
    try:
        if not file.exists():
            _make(file)
        text = file.read_text().strip()
        return Signer(bytes.fromhex(text.removeprefix(_BEGIN)))
    except OSError as error:
        raise FolderError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise FolderError(f'{file}: holds no key; it should be "{_BEGIN}" and 64 hexadecimal digits') from error


def line(signer: Signer) -> str:
    """What a person puts under [trust] in agent.toml."""
    return f'keys = ["{signer.public}"]'


def _make(file: Path) -> None:
    """Whole or not at all, for its owner alone; of two processes that make one, the first wins."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(f"{_BEGIN}{secrets.token_hex(32)}\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(part, file)
    except FileExistsError:
        pass
    finally:
        part.unlink()
    folder = os.open(file.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
