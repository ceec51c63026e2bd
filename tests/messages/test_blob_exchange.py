"""Two programs exchange blobs over a wire in memory, and a web server where a test has one."""

import asyncio
import os
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random

import pytest
from msgspec import structs

from messages.blobs.exchange import Blobs
from messages.blobs.fetch import STRIKES
from messages.blobs.folder import BlobError, BlobRefused, NoRoom
from messages.blobs.settings import BlobSettings
from messages.blobs.shapes import BlobChunk, BlobWant, Span
from messages.blobs.wire import Wire
from messages.channels import HUB
from messages.codec import encode
from messages.host.clock import Clock
from messages.shapes import BlobRef
from tests.support.authority import Authority
from tests.support.blobs import chunk, content, referred
from tests.support.events import until

DATA = content(1_000_000)
REF, _ = referred(DATA)


class Cable(Wire):
    """One end's way to the other; what it carries can be counted, cut and changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.other: Blobs
        self.cut = False
        self.asked: list[tuple[str, Span]] = []
        self.wrong = 0
        self.said: list[str] = []

    def want(self, peer: str, sha256: str, spans: Sequence[Span]) -> None:
        self.asked += [(sha256, span) for span in spans]
        if not self.cut:
            want = BlobWant(event_id="b.1", timestamp=1, sha256=sha256, spans=tuple(spans))
            assert self.other.take(self.name, BlobWant, encode(want)) == ""

    async def chunk(self, peer: str, sha256: str, offset: int, data: bytes) -> None:
        await asyncio.sleep(0)
        if self.cut:
            return
        data = bytes(len(data)) if self.wrong > 0 else data
        self.wrong -= 1
        message = chunk(sha256, offset, data, "" if data else "none here")
        self.said.append(self.other.take(self.name, BlobChunk, encode(message)))


class Pair:
    """A hub and a node called `cam`."""

    def __init__(self, folder: Path, **settings: int | str) -> None:
        self.down, self.up = Cable(HUB), Cable("cam")
        limits = BlobSettings(**settings)  # type: ignore[arg-type]
        self.hub = Blobs(folder / "hub", self.down, Clock(0.0), settings=BlobSettings(), random=Random(1))
        self.node = Blobs(folder / "node", self.up, Clock(0.0), settings=limits, random=Random(2))
        self.down.other, self.up.other = self.node, self.hub

    async def offer(self, data: bytes = DATA) -> BlobRef:
        ref = await self.hub.put(data)
        self.hub.refer("cam", ref)
        return ref

    async def close(self) -> None:
        await self.node.close()
        await self.hub.close()


@pytest.fixture
async def pair(tmp_path: Path):
    both = Pair(tmp_path)
    yield both
    await both.close()


async def test_what_is_wanted_comes_once_however_many_want_it(pair: Pair) -> None:
    ref = await pair.offer()
    missing: list[int] = []
    paths = await asyncio.gather(*(pair.node.want(ref, progress=missing.append) for _ in range(3)))
    assert {path.read_bytes() for path in paths} == {DATA}
    assert sum(span.length for name, span in pair.up.asked if name == ref.sha256) == len(DATA)
    assert (missing[0], missing[-1]) == (len(DATA), 0)
    assert missing == sorted(missing, reverse=True)
    pair.up.cut = True
    assert await pair.node.want(ref) == paths[0]


async def test_both_directions_at_once(pair: Pair) -> None:
    ref, other = await pair.offer(), await pair.node.put(content(300_000, 5))
    pair.node.refer(HUB, other)
    down, up = await asyncio.gather(pair.node.want(ref), pair.hub.want(other, peer="cam"))
    assert (down.read_bytes(), up.read_bytes()) == (DATA, content(300_000, 5))


async def test_a_lost_link_and_a_cancelled_caller_cost_nothing(pair: Pair) -> None:
    ref = await pair.offer()
    waiting = asyncio.create_task(pair.node.want(ref))
    await until(lambda: len(pair.up.asked) > 3, within_s=5, every_s=0.0)
    pair.up.cut = pair.down.cut = True
    pair.node.away()
    asked = len(pair.up.asked)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    again = asyncio.create_task(pair.node.want(ref))
    pair.up.cut = pair.down.cut = False
    pair.node.online()
    assert (await again).read_bytes() == DATA
    twice = sum(span.length for name, span in pair.up.asked[asked:] if name == ref.sha256)
    assert twice < len(DATA) + 400_000


@pytest.mark.parametrize("turns", range(0, 120, 3))
async def test_whenever_it_is_cancelled_the_next_call_gets_it(pair: Pair, turns: int) -> None:
    ref = await pair.offer()
    waiting = asyncio.create_task(pair.node.want(ref))
    for _ in range(turns):
        await asyncio.sleep(0.001 if turns > 60 else 0)
    waiting.cancel()
    assert (await pair.node.want(ref)).read_bytes() == DATA


async def test_what_was_not_referenced_is_not_served(pair: Pair) -> None:
    ref = await pair.hub.put(DATA)
    pair.hub.refer("another", ref)
    pair.node.fetching.patience_s = 0.1
    with pytest.raises(BlobError, match="none here$"):
        await pair.node.want(ref)
    assert list(pair.node.fetching.folder.names()) == []


async def test_what_nobody_needs_any_more_goes(pair: Pair) -> None:
    ref = await pair.offer()
    pair.hub.refer("another", ref)
    pair.hub.forget("cam", ref)
    assert pair.hub.sending.folder.find(ref.sha256) is not None
    pair.hub.forget("another", ref)
    assert pair.hub.sending.folder.names() == set()


async def test_a_wrong_piece_is_told_once_and_fetched_again(pair: Pair) -> None:
    ref = await pair.offer()
    pair.down.wrong = 1
    assert (await pair.node.want(ref)).read_bytes() == DATA
    told = [text for text in pair.down.said if text]
    assert told == [f"blob {ref.sha256[:12]}: a list of units with another digest"]


async def test_a_source_of_wrong_bytes_is_left_for_good(pair: Pair) -> None:
    ref = await pair.offer()
    pair.down.wrong = 10**6
    with pytest.raises(BlobRefused, match="another digest") as first:
        await pair.node.want(ref)
    asked = len(pair.up.asked)
    assert asked == STRIKES
    with pytest.raises(BlobRefused) as second:
        await pair.node.want(ref)
    assert (str(first.value), len(pair.up.asked)) == (str(second.value), asked)


async def test_references_that_lie_are_refused_before_much_is_asked_for(pair: Pair, tmp_path: Path) -> None:
    ref = await pair.offer()
    for lie in (
        structs.replace(ref, size=2**40, units=2**24),
        structs.replace(ref, size=1),
        structs.replace(ref, size=ref.size + 1),
        structs.replace(ref, units=ref.units - 1),
        structs.replace(ref, list_sha256="0" * 64),
    ):
        pair.node.fetching._refused.clear()
        pair.node.fetching.patience_s = 0.1
        with pytest.raises(BlobError):
            await pair.node.want(lie)
    assert all(span.offset < 10_000 for _, span in pair.up.asked)
    liar = structs.replace(ref, sha256="f" * 64)
    pair.node.fetching._refused.clear()
    pair.hub.sending.may_have = lambda _peer, _blob: True
    os.link(tmp_path / "hub" / "out" / ref.sha256, tmp_path / "hub" / "out" / liar.sha256)
    with pytest.raises(BlobRefused, match="its units are right, and the whole has another digest"):
        await pair.node.want(liar)


async def test_no_room_is_said_before_anything_is_asked_for(tmp_path: Path) -> None:
    pair = Pair(tmp_path, kept=500_000)
    ref = await pair.offer()
    with pytest.raises(NoRoom, match=f"blob {ref.sha256[:12]} of 1000000 bytes: no room in "):
        await pair.node.want(ref)
    assert pair.up.asked == []
    await pair.close()


class Ranges(BaseHTTPRequestHandler):
    """Serves DATA by ranges, or what the server's `broken` says."""

    def do_GET(self) -> None:
        begin, end = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        broken = self.server.broken  # type: ignore[attr-defined]
        body = DATA[begin : end + 1]
        if broken == "bytes":
            body = body[:300_000] + bytes(len(body) - 300_000)
        self.send_response({"status": 200, "redirect": 302}.get(broken, 206))
        self.send_header("Content-Range", f"bytes {begin}-{end}/{len(DATA)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: 200_000 if broken == "short" else None])

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def web(folder: Path, broken: str = "") -> Iterator[tuple[str, str]]:
    """A web server: its URL, and the file with its authority."""
    authority = Authority(folder)
    files = authority.certify("localhost")
    server = HTTPServer(("127.0.0.1", 0), Ranges)
    server.broken = broken  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert_file"], files["key_file"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/model", authority.ca_file
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_web_server_spares_the_bus_all_but_the_list(tmp_path: Path) -> None:
    with web(tmp_path) as (url, ca_file):
        pair = Pair(tmp_path, ca_file=ca_file)
        ref = await pair.offer()
        assert (await pair.node.want(ref, urls=[url])).read_bytes() == DATA
        assert {name for name, _ in pair.up.asked} == {ref.list_sha256}
        await pair.close()


@pytest.mark.parametrize("broken", ["bytes", "status", "redirect", "short", "certificate", "http", "nobody"])
async def test_what_a_web_server_has_not_comes_over_the_bus(tmp_path: Path, caplog, broken: str) -> None:
    with web(tmp_path, broken) as (url, ca_file):
        pair = Pair(tmp_path, ca_file="" if broken == "certificate" else ca_file)
        address = {"http": url.replace("https", "http"), "nobody": "https://127.0.0.1:1/"}.get(broken, url)
        ref = await pair.offer()
        assert (await pair.node.want(ref, urls=[address, address])).read_bytes() == DATA
        over_bus = sum(span.length for name, span in pair.up.asked if name == ref.sha256)
        assert 0 < over_bus <= len(DATA)
        assert (over_bus < len(DATA)) is (broken in ("bytes", "short"))
        assert caplog.text.count("the rest comes another way") == 1
        await pair.close()


async def test_a_lie_about_a_blob_does_not_keep_the_true_one_away(pair: Pair) -> None:
    ref = await pair.offer()
    lie = structs.replace(ref, units=ref.units - 1)
    lying = asyncio.create_task(pair.node.want(lie))
    await asyncio.sleep(0)
    assert (await pair.node.want(ref)).read_bytes() == DATA
    with pytest.raises(BlobRefused, match="a list of units with another digest"):
        await lying
