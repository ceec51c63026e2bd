"""What travels of blobs: what a receiver wants, and what it gets. Lost ones are repaired by the next want."""

from typing import Annotated, Final, NamedTuple

from msgspec import Meta

from messages.shapes import Envelope, Natural, Sha256

MOST_RANGE: Final = 65_536
"""Bytes of one chunk: through KubeEdge it grows by a third, and still fits where the broker takes 128 KB."""

MOST_RANGES: Final = 64
"""Ranges of one want."""

INLINE: Final = 98_304
"""What has more bytes than this travels as a blob, the rest inside of its message."""


class Span(NamedTuple):
    """Bytes of a blob: where they begin, and how many."""

    offset: Natural
    length: Annotated[int, Meta(ge=1, le=MOST_RANGE)]


class BlobWant(Envelope, frozen=True, kw_only=True):
    """A receiver asks for bytes of a blob, or of a list of units: each is known by its digest."""

    sha256: Sha256
    spans: Annotated[tuple[Span, ...], Meta(min_length=1, max_length=MOST_RANGES)]


class BlobChunk(Envelope, frozen=True, kw_only=True):
    """The bytes of one span, or why there are none: then `data` is empty, and nothing of this digest will come now."""

    sha256: Sha256
    offset: Natural = 0
    data: Annotated[bytes, Meta(max_length=MOST_RANGE)] = b""
    error: str = ""
