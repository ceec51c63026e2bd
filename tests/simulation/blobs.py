"""Both ends of blobs in the simulator: the pure parts on virtual time, and disks that outlive what is killed."""

from collections.abc import Callable
from io import BytesIO
from random import Random

from cloud_hub.ingest.inference import Needed
from messages import channels
from messages.blobs.fetch import BadChunk, Fetch, Stage
from messages.blobs.serve import Serve
from messages.blobs.shapes import BlobChunk, BlobWant
from messages.blobs.units import describe
from messages.blobs.window import Window
from messages.codec import decode, encode
from messages.delivery.store import Store
from messages.shapes import BlobRef
from tests.simulation.timeline import Timeline

Post = Callable[[str, bytes], None]
"""Sends a payload on a channel's path."""


class Attic:
    """A device's blobs: what rows of its outbox refer to."""

    def __init__(self, store: Store) -> None:
        self.files: dict[str, tuple[bytes, bytes, str]] = {}
        self._store = store

    def put(self, data: bytes) -> BlobRef:
        """Keep some content."""
        ref, listed = describe(BytesIO(data))
        self.files[ref.sha256] = data, listed, ref.list_sha256
        return ref

    def sweep(self) -> None:
        """Forget what no row needs."""
        needed = set(self._store.blobs())
        self.files = {name: file for name, file in self.files.items() if name in needed}

    def answer(self, payload: bytes, post: Post) -> None:
        """The hub wants something."""
        serve = Serve(lambda _peer, name: self._content(name) is not None, in_flight=1 << 30)
        serve.want("hub", decode(BlobWant, payload))
        while (turn := serve.next(0.0)) is not None:
            content = self._content(turn.sha256) or b""
            offset, length = turn.span or (0, 0)
            data = content[offset : offset + length]
            chunk = BlobChunk(
                event_id="b", timestamp=0, sha256=turn.sha256, offset=offset, data=data, error="" if data else "none"
            )
            post(channels.UP_CHUNK.path, encode(chunk))

    def _content(self, name: str) -> bytes | None:
        for blob, (data, listed, list_name) in self.files.items():
            if name in (blob, list_name) and self._store.needs(blob):
                return data if name == blob else listed
        return None


class Uploads:
    """The hub's blobs. Files and what has come of others outlive a kill; fetches do not."""

    def __init__(self, timeline: Timeline, random: Random, post: Callable[[str, str, bytes], None]) -> None:
        self.again: Callable[[Needed], None]
        self._timeline = timeline
        self._random = random
        self._post = post
        self._files: dict[str, bytes] = {}
        self._parts: dict[str, dict[int, bytes]] = {}
        self._fetches: dict[tuple[str, str], tuple[Fetch, Needed]] = {}

    def load(self, node: str, ref: BlobRef) -> bytes | None:
        """A blob that is whole."""
        return self._files.get(ref.sha256)

    def need(self, needed: Needed) -> None:
        """Fetch a sample's blob."""
        ref = needed.sample.x.blob
        assert ref is not None
        key = needed.node, ref.sha256
        fetch = self._fetches[key][0] if key in self._fetches else Fetch(ref, Window(self._random))
        self._fetches[key] = fetch, needed
        self._go_on(key)

    def spent(self, names: list[str]) -> None:
        """These are stored."""
        for name in names:
            self._files.pop(name, None)

    def took(self, node: str, payload: bytes) -> None:
        """A device has sent something."""
        chunk = decode(BlobChunk, payload)
        for key, (fetch, _) in list(self._fetches.items()):
            if key[0] != node:
                continue
            try:
                for unit, data in fetch.take(chunk, self._timeline.now):
                    self._parts.setdefault(key[1], {})[unit.offset] = data
            except BadChunk:
                continue
            self._go_on(key)

    def kill(self) -> None:
        """The process is gone."""
        self._fetches.clear()

    def _go_on(self, key: tuple[str, str]) -> None:
        fetch, needed = self._fetches[key]
        parts = self._parts.setdefault(key[1], {})
        if fetch.stage is Stage.LISTED:
            fetch.go_on({number for number, unit in enumerate(fetch.units) if unit.offset in parts})
        if fetch.stage is Stage.WHOLE:
            self._timeline.note("blob", *key)
            self._files[key[1]] = b"".join(parts[unit.offset] for unit in fetch.units)
            del self._fetches[key], self._parts[key[1]]
            self.again(needed)
            return
        name, spans = fetch.ask(self._timeline.now)
        if spans:
            want = BlobWant(event_id="b", timestamp=0, sha256=name, spans=tuple(spans))
            self._post(key[0], channels.DOWN_WANT.path, encode(want))
            wake = fetch.wake_at()
            assert wake is not None
            self._timeline.after(wake - self._timeline.now + 0.001, lambda: self._alarm(key, fetch))

    def _alarm(self, key: tuple[str, str], fetch: Fetch) -> None:
        if key in self._fetches and self._fetches[key][0] is fetch:
            self._go_on(key)
