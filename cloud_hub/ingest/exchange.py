"""What goes into the hub's core and what comes out of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from cloud_hub.ingest.inference import Needed, NoShelf, Predict, Shelf
from messages.codec import Format
from messages.delivery.bounds import Caps
from messages.delivery.rows import Kind
from messages.delivery.sender import Pace
from messages.shapes import Signature


class SigningKeys(Struct, frozen=True, kw_only=True):
    """What a hub signs with, and the root's encoded KeyList that vouches for it; `epoch` is 0 without a root."""

    sign: Callable[[bytes], Signature]
    epoch: int = 0
    key_list: bytes = b""
    signatures: tuple[Signature, ...] = ()


class HubOptions(Struct, frozen=True, kw_only=True):
    """How the hub sends, and with what it signs now what nodes should run (without `keys` it never says what).

    `credit` is what one node may have in flight, `budget` what all nodes together may; `caps` bound the answers that
    wait for nodes; the blobs of samples come from the `shelf`.
    """

    namespace: str = "default"
    form: Format = Format.MSGPACK
    pace: Pace = Pace()
    credit: int = 256
    budget: int = 8192
    retry_s: float = 10.0
    caps: Mapping[Kind, Caps] = {}
    keys: Callable[[], SigningKeys] | None = None
    shelf: Shelf = NoShelf()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as the bus gave it."""

    topic: str
    payload: bytes
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """A message to publish to a node: the channel's path and the payload."""

    node: str
    path: str
    payload: bytes


@dataclass(slots=True)
class Output:
    """What to do after the commit: publish, run models, fetch blobs and drop some; `notes` are lines for the log."""

    posts: list[Post] = field(default_factory=list)
    predictions: list[Predict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    needed: list[Needed] = field(default_factory=list)
    spent: list[str] = field(default_factory=list)
