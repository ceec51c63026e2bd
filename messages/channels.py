"""What travels where: the only place in which a topic is spelled.

Topics are `{namespace}/skerry/v1/{node}/{channel}`; `in` and `out` end in the job's name. Each `Channel` pairs a topic
with the one shape it carries. A newcomer should start here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from messages.blobs.shapes import BlobChunk, BlobWant
from messages.shapes import Answer, Desired, Envelope, HardSample, NodeStatus, Prediction, Reading, Receipt, Report

VERSION: Final = "v1"
HUB: Final = "hub"
"""The name under which an agent keeps what it exchanges with its hub; a node is known by its own name."""

NODE_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
NAME_PATTERN: Final = NODE_PATTERN
"""Namespaces and jobs are spelled like nodes: a topic level, a certificate name and a file name at once."""

T = TypeVar("T", bound=Envelope)


@dataclass(frozen=True, slots=True)
class Channel(Generic[T]):
    """A kind of message and its place: `path` below the node, the shape, and how it is sent.

    `reliable` messages go through an outbox and are kept until their receipt; the others repair themselves, because
    the next one says it all. `per_job` channels end in the job's name. A `reserved` channel has its place but no shape
    of its own yet: this version reads only its envelope and asks the sender to wait.
    """

    path: str
    shape: type[T]
    reserved: bool = False
    retain: bool = False
    reliable: bool = False
    per_job: bool = False

    def topic(self, namespace: str, node: str, job: str = "") -> str:
        """The topic of this channel for one node (and one job, where the channel is per job)."""
        levels = [checked(namespace, "namespace"), "skerry", VERSION, checked(node, "node"), self.path]
        if self.per_job:
            levels.append(checked(job, "job"))
        return "/".join(levels)

    def filter(self, namespace: str, node: str = "+") -> str:
        """The subscription for this channel, for one node or all (`+`)."""
        tail = f"{self.path}/+" if self.per_job else self.path
        return f"{checked(namespace, 'namespace')}/skerry/{VERSION}/{node}/{tail}"


UP_STATUS: Final = Channel("up/status", NodeStatus, retain=True)
UP_SAMPLE: Final = Channel("up/sample", HardSample, reliable=True)
UP_REPORT: Final = Channel("up/report", Report, reliable=True)
UP_RECEIPT: Final = Channel("up/receipt", Receipt)
DOWN_ANSWER: Final = Channel("down/answer", Answer, reliable=True)
DOWN_DESIRED: Final = Channel("down/desired", Desired, reliable=True)
DOWN_RECEIPT: Final = Channel("down/receipt", Receipt)
UP_WANT: Final = Channel("up/want", BlobWant)
UP_CHUNK: Final = Channel("up/chunk", BlobChunk)
DOWN_WANT: Final = Channel("down/want", BlobWant)
DOWN_CHUNK: Final = Channel("down/chunk", BlobChunk)
IN: Final = Channel("in", Reading, per_job=True)
OUT: Final = Channel("out", Prediction, per_job=True)

RESERVED: Final = tuple(
    Channel(path, Envelope, reserved=True, reliable=True)
    for path in ("up/update", "up/frame", "down/round", "down/frame")
)

_ALL: Final[tuple[Channel[Any], ...]] = (
    *(UP_STATUS, UP_SAMPLE, UP_REPORT, UP_RECEIPT, DOWN_ANSWER, DOWN_DESIRED, DOWN_RECEIPT, IN, OUT),
    *(UP_WANT, UP_CHUNK, DOWN_WANT, DOWN_CHUNK),
    *RESERVED,
)
CHANNELS: Final[dict[str, Channel[Envelope]]] = {channel.path: channel for channel in _ALL}


@dataclass(frozen=True, slots=True)
class Address:
    """A topic taken apart. `channel` is None where the path is one that this version does not know."""

    namespace: str
    node: str
    path: str
    channel: Channel[Envelope] | None
    job: str = ""


class BadTopic(ValueError):
    """A topic that is none of ours, or a name that cannot be part of one."""


def checked(name: str, what: str) -> str:
    """The name itself if it may be a topic level; `what` names it in the error."""
    if NAME_PATTERN.fullmatch(name) is None:
        raise BadTopic(f"{what} {name!r}: use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit")
    return name


def parse(topic: str) -> Address:
    """Take a topic apart. Raises BadTopic when it is not `{namespace}/skerry/v1/{node}/...`."""
    levels = topic.split("/")
    if len(levels) < 5 or levels[1] != "skerry" or levels[2] != VERSION:
        raise BadTopic(f"topic {topic[:200]!r}: not {{namespace}}/skerry/{VERSION}/{{node}}/{{channel}}")
    namespace, node, rest = checked(levels[0], "namespace"), checked(levels[3], "node"), levels[4:]
    if rest[0] in (IN.path, OUT.path):
        job = checked("/".join(rest[1:]), "job")
        return Address(namespace, node, rest[0], CHANNELS[rest[0]], job)
    path = "/".join(rest)
    return Address(namespace, node, path, CHANNELS.get(path))


def uplink(namespace: str, node: str = "+") -> str:
    """The subscription that takes all that nodes send up, known channel or not."""
    return f"{checked(namespace, 'namespace')}/skerry/{VERSION}/{node}/up/#"


def downlink(namespace: str, node: str) -> str:
    """The subscription that takes all that the hub sends down to one node."""
    return f"{checked(namespace, 'namespace')}/skerry/{VERSION}/{checked(node, 'node')}/down/#"


def node_grants(namespace: str, node: str) -> dict[str, str]:
    """What a broker should let one node do, by filter: read, write or readwrite. `node` may be a placeholder."""
    root = f"{checked(namespace, 'namespace')}/skerry/{VERSION}/{node}"
    return {f"{root}/up/#": "write", f"{root}/down/#": "read", f"{root}/in/+": "read", f"{root}/out/+": "write"}


def app_grants(namespace: str, node: str, jobs: Sequence[str] = ()) -> dict[str, str]:
    """What a broker should let another app do, by filter: hand in samples of these jobs (or all), hear the results."""
    root = f"{checked(namespace, 'namespace')}/skerry/{VERSION}/{checked(node, 'node')}"
    names = [checked(job, "job") for job in jobs] or ["+"]
    access: dict[Channel[Any], str] = {IN: "write", OUT: "read"}
    return {f"{root}/{channel.path}/{job}": right for channel, right in access.items() for job in names}


def hub_grants(namespace: str) -> dict[str, str]:
    """What a broker should let the hub do, by filter: hear every node and answer it."""
    root = f"{checked(namespace, 'namespace')}/skerry/{VERSION}/+"
    return {f"{root}/up/#": "read", f"{root}/down/#": "write"}
