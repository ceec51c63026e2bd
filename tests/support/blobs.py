"""Contents of blobs, and the ways that they go."""

from io import BytesIO
from random import Random

from messages.blobs.shapes import BlobChunk, Span
from messages.blobs.units import describe
from messages.shapes import BlobRef


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that cannot be guessed."""
    return Random(seed).randbytes(size)


def referred(data: bytes) -> tuple[BlobRef, bytes]:
    """Reference and list of units of some content."""
    return describe(BytesIO(data))


def chunk(sha256: str, offset: int = 0, data: bytes = b"", error: str = "") -> BlobChunk:
    return BlobChunk(event_id="b.1", timestamp=1, sha256=sha256, offset=offset, data=data, error=error)


class Source:
    """A peer that has some content."""

    def __init__(self, *contents: bytes) -> None:
        self.contents: dict[str, bytes] = {}
        for data in contents:
            ref, listed = referred(data)
            self.contents[ref.sha256] = data
            self.contents[ref.list_sha256] = listed

    def give(self, sha256: str, span: Span) -> BlobChunk:
        data = self.contents.get(sha256, b"")[span.offset : span.offset + span.length]
        return chunk(sha256, span.offset, data, "" if data else "none here")
