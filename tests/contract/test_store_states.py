"""Both stores do the same, whatever happens to them in whatever order."""

import sqlite3
from contextlib import ExitStack
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from messages.delivery.memory import MemoryStore
from messages.delivery.rows import Draft, Entry, Kind, Outcome, Row, StreamState
from messages.delivery.sqlite import SqliteStore
from messages.delivery.store import Store

PEERS = ("hub", "node-1")
NAMES = st.sampled_from(["a", "b", "c"])
TIMES = st.sampled_from([0.0, 1.0, 2.0])
DRAFTS = st.builds(
    Draft, peer=st.sampled_from(PEERS), path=st.just("p"), job=st.just("j"), kind=st.sampled_from(Kind),
    body=st.binary(max_size=3), created=TIMES, key=st.sampled_from(["", "a", "b"]), slot=st.sampled_from(["", "s"]),
    rank=TIMES,
)  # fmt: skip


class Twins(RuleBasedStateMachine):
    """A memory store and a SQLite store; each rule does the same to both and compares what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.stores: tuple[Store, Store] = (MemoryStore(), SqliteStore(self.connection))
        self.numbers: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self.open: list[ExitStack] = []

    def teardown(self) -> None:
        for stack in self.open:
            stack.close()
        self.connection.close()

    def both(self, method: str, *values: object) -> Any:
        """Call both stores; their answers must be equal, but for the ids of rows."""
        memory, sqlite = (getattr(store, method)(*values) for store in self.stores)
        assert plain(memory) == plain(sqlite), method
        return memory

    def rows(self, number: int) -> tuple[Row, Row] | None:
        """The same row in both stores, by its place."""
        pairs = [pair for peer in PEERS for pair in zip(*(all_rows(store, peer) for store in self.stores), strict=True)]
        return pairs[number % len(pairs)] if pairs else None

    @precondition(lambda self: not self.open)
    @rule()
    def begin(self) -> None:
        for store in self.stores:
            stack = ExitStack()
            stack.enter_context(store.transaction())
            self.open.append(stack)

    @precondition(lambda self: self.open)
    @rule()
    def commit(self) -> None:
        for stack in self.open:
            stack.close()
        self.open = []

    @precondition(lambda self: self.open)
    @rule()
    def fail(self) -> None:
        for stack in self.open:
            stack.__exit__(ValueError, ValueError("undone"), None)
        self.open = []

    @precondition(lambda self: self.open)
    @rule(item=DRAFTS)
    def put(self, item: Draft) -> None:
        if item.slot:
            self.both("unsent", item)
        self.both("put", item)

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 20), stream=NAMES, seq=st.integers(0, 1000))
    def enter(self, number: int, stream: str, seq: int) -> None:
        pair = self.rows(number)
        taken = {(row.stream, row.seq) for row in self.stores[0].windowed(pair[0].peer)} if pair else set()
        if pair is not None and (stream, seq) not in taken:
            for store, row in zip(self.stores, pair, strict=True):
                store.enter(row.id, stream, seq)

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 20), until=TIMES)
    def park(self, number: int, until: float) -> None:
        for store, row in zip(self.stores, self.rows(number) or (), strict=False):
            store.park(row.id, until)

    @precondition(lambda self: self.open)
    @rule(number=st.integers(0, 20), bury=st.booleans())
    def remove(self, number: int, bury: bool) -> None:
        for store, row in zip(self.stores, self.rows(number) or (), strict=False):
            if bury:
                store.bury(row, "reason", 1)
            store.remove(row.id)

    @precondition(lambda self: self.open)
    @rule(peer=st.sampled_from(PEERS), stream=NAMES, seen=st.dictionaries(st.integers(0, 9), st.binary(max_size=4)),
          touched=TIMES)  # fmt: skip
    def save_stream(self, peer: str, stream: str, seen: dict[int, bytes], touched: float) -> None:
        self.both("save_stream", peer, stream, StreamState(1, seen, touched))

    @precondition(lambda self: self.open)
    @rule(peer=st.sampled_from(PEERS), keep=st.lists(NAMES).map(tuple), before=TIMES)
    def forget(self, peer: str, keep: tuple[str, ...], before: float) -> None:
        self.both("forget_streams", peer, keep, before)

    @precondition(lambda self: self.open)
    @rule(outcome=st.sampled_from(Outcome), reason=NAMES, number=st.integers(0, 5))
    def count(self, outcome: Outcome, reason: str, number: int) -> None:
        self.both("count", Entry("hub", "j", "p", outcome, reason), number)

    @precondition(lambda self: self.open)
    @rule(name=NAMES, value=st.integers(0, 2**53 - 1))
    def record(self, name: str, value: int) -> None:
        self.both("record", name, value)

    @invariant()
    def same(self) -> None:
        for peer in PEERS:
            self.both("windowed", peer)
            for now in (0.0, 1.0, 2.0):
                self.both("fresh", peer, 3, now)
            for stream in ("a", "b", "c"):
                self.both("load_stream", peer, stream)
        for kind in Kind:
            self.both("worst", kind, 2)
            self.both("aged", kind, 1.5, 2)
            self.both("totals", kind)
            self.both("totals", kind, "hub")
        for name in ("a", "b", "c"):
            self.both("recall", name)
        self.both("peers")
        assert {e: n for e, n in self.stores[0].ledger().items() if n} == {
            e: n for e, n in self.stores[1].ledger().items() if n
        }


def all_rows(store: Store, peer: str) -> list[Row]:
    return sorted([*store.windowed(peer), *store.fresh(peer, 10_000, float("inf"))], key=lambda row: row.id)


def plain(said: object) -> object:
    """What a store said, without the ids of rows."""
    if isinstance(said, Row):
        return (said.peer, said.kind, said.size, said.created, said.rank, said.stream, said.seq)
    return [plain(item) for item in said] if isinstance(said, list) else said


Twins.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTwins = Twins.TestCase
