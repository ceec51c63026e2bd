"""Who gets what, in which order, and how much of it at once."""

import hypothesis.strategies as st
from hypothesis import given

from messages.blobs.serve import MOST_WAITING, Serve
from messages.blobs.shapes import BlobWant, Span

A, B = "a" * 64, "b" * 64


def want(sha256: str, *spans: tuple[int, int]) -> BlobWant:
    return BlobWant(event_id="b.1", timestamp=1, sha256=sha256, spans=tuple(Span(*span) for span in spans))


def turns(serve: Serve, now: float = 0.0) -> list[tuple[str, str, int]]:
    """All turns until there is none; what is sent is on its way at once."""
    found = []
    while (turn := serve.next(now)) is not None:
        found.append((turn.peer, turn.sha256[0], -1 if turn.span is None else turn.span.offset))
    return found


def anyone(_peer: str, _blob: str) -> bool:
    return True


def test_peers_take_turns_whoever_asks_for_more() -> None:
    serve = Serve(anyone, in_flight=1 << 20)
    serve.want("greedy", want(A, *((n, 10) for n in range(5))))
    serve.want("modest", want(B, (0, 10), (1, 10)))
    order = [peer for peer, _, _ in turns(serve)]
    assert order == ["greedy", "modest", "greedy", "modest", "greedy", "greedy", "greedy"]


def test_only_what_was_referenced_for_a_peer_is_served_and_it_is_told() -> None:
    serve = Serve(lambda peer, blob: (peer, blob) == ("one", A), in_flight=1 << 20)
    serve.want("one", want(A, (0, 10)))
    serve.want("one", want(B, (0, 10)))
    serve.want("two", want(A, (0, 10), (10, 10)))
    assert sorted(turns(serve)) == [("one", "a", 0), ("one", "b", -1), ("two", "a", -1)]


def test_bytes_under_way_are_bounded_for_all_together() -> None:
    serve = Serve(anyone, in_flight=100)
    for peer in ("one", "two", "three"):
        serve.want(peer, want(A, (0, 60), (60, 60)))
    assert len(turns(serve)) == 2
    assert serve.wake_at() is None
    serve.sent(60)
    assert len(turns(serve)) == 1


def test_a_rate_spreads_them_over_time() -> None:
    serve = Serve(anyone, in_flight=1 << 20, rate=1000)
    serve.want("one", want(A, *((n, 100) for n in range(30))))
    now, sent = 0.0, 0
    while now < 2.0:
        sent += len(turns(serve, now))
        wake = serve.wake_at()
        assert wake is not None
        now = max(now, wake)
    assert 19 <= sent <= 21


def test_the_same_span_is_one_and_a_peer_may_not_wait_for_ever_more() -> None:
    serve = Serve(anyone, in_flight=1 << 30)
    for _ in range(3):
        serve.want("one", want(A, (0, 10), (10, 10)))
    assert len(turns(serve)) == 2
    for start in range(0, 64 * 20, 64):
        serve.want("one", want(A, *((start + n, 10) for n in range(64))))
    assert len(turns(serve)) == MOST_WAITING
    serve.want("one", want(A, (0, 10)))
    serve.forget("one")
    assert turns(serve) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 60)), max_size=60))
def test_every_span_that_waits_gets_its_turn_once(given: list[tuple[int, int, int]]) -> None:
    serve = Serve(anyone, in_flight=50)
    asked = set()
    for peer, offset, length in given:
        serve.want(str(peer), want(A, (offset, length)))
        asked.add((str(peer), offset, length))
    got = []
    while (turn := serve.next(0.0)) is not None:
        assert turn.span is not None
        got.append((turn.peer, turn.span.offset, turn.span.length))
        serve.sent(turn.span.length)
    assert sorted(got) == sorted(asked)
