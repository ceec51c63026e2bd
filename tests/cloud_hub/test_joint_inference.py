"""Which worker takes which samples, and what happens to a sample on which workers die."""

from itertools import chain

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec import json, structs

from cloud_hub.jobs.joint_inference import (
    Answered,
    Arrived,
    Died,
    Event,
    Fail,
    Ready,
    Spec,
    Started,
    State,
    Take,
    Taken,
    Tick,
    step,
    wake_at,
)

SPEC = Spec(batch_size=3, batch_wait_s=1.0)
EMPTY = State()
ONE = Take("w", 1, row=7)
BATCH = Take("w", 3)
DEATH = "the model's process died on it: killed"


@pytest.mark.parametrize(
    ("before", "event", "after", "effects"),
    [
        # the hub starts: what was in hands waits again, suspects go alone as before
        (EMPTY, Started(0, 5.0), State(since=5.0), ()),
        (EMPTY, Started(4, 5.0), State(waiting=4, since=5.0), ()),
        (
            State(idle=("w",), busy={"v": (1, 2)}, suspects=(2,), answered=8, failed=1, deaths=3, model="m"),
            Started(5, 5.0),
            State(waiting=4, since=5.0, suspects=(2,), answered=8, failed=1, deaths=3),
            (),
        ),
        # samples come
        (EMPTY, Arrived(2, 5.0), State(waiting=2, since=5.0), ()),
        (State(waiting=2, since=1.0), Arrived(1, 5.0), State(waiting=3, since=1.0), ()),
        (State(idle=("w",)), Arrived(2, 5.0), State(waiting=2, since=5.0, idle=("w",)), ()),
        (State(idle=("w",)), Arrived(3, 5.0), State(waiting=3, since=5.0, idle=("w",)), (BATCH,)),
        # workers come
        (EMPTY, Ready("w", "m", 5.0), State(idle=("w",), model="m"), ()),
        (State(idle=("w", "v")), Ready("w", "m", 5.0), State(idle=("v", "w"), model="m"), ()),
        (State(waiting=1), Ready("w", "m", 5.0), State(waiting=1, idle=("w",), model="m"), (BATCH,)),
        (State(suspects=(7,)), Ready("w", "m", 5.0), State(suspects=(7,), idle=("w",), model="m"), (ONE,)),
        (
            State(busy={"w": (7, 8)}),
            Ready("w", "m", 5.0),
            State(idle=("w",), suspects=(7, 8), model="m", deaths=1),
            (ONE,),
        ),
        # batches are taken
        (
            State(waiting=3, idle=("w", "v")),
            Taken(BATCH, (1, 2, 3), 0.5),
            State(idle=("v",), busy={"w": (1, 2, 3)}),
            (),
        ),
        (
            State(waiting=7, idle=("w", "v"), suspects=(9,), busy={"u": (9,)}),
            Taken(BATCH, (1, 2, 3), 0.5),
            State(waiting=4, idle=("v",), busy={"u": (9,), "w": (1, 2, 3)}, suspects=(9,)),
            (Take("v", 3, skip=(9, 1, 2, 3, 9)),),
        ),
        (State(waiting=2, idle=("w",)), Taken(BATCH, (), 0.5), State(idle=("w",)), ()),
        (
            State(waiting=2, idle=("w",), suspects=(7,)),
            Taken(ONE, (7,), 0.5),
            State(waiting=2, busy={"w": (7,)}, suspects=(7,)),
            (),
        ),
        (State(idle=("w",), suspects=(7,)), Taken(ONE, (), 0.5), State(idle=("w",)), ()),
        # answers come
        (State(busy={"w": (1, 2, 3)}), Answered("w", 1, 0.5), State(idle=("w",), answered=2, failed=1), ()),
        (
            State(busy={"w": (7,)}, suspects=(7, 8)),
            Answered("w", 0, 0.5),
            State(idle=("w",), suspects=(8,), answered=1),
            (Take("w", 1, row=8),),
        ),
        (State(waiting=3, idle=("v",)), Answered("w", 0, 0.5), State(waiting=3, idle=("v",)), (Take("v", 3),)),
        (State(busy={"v": (1,)}), Answered("w", 1, 0.5), State(busy={"v": (1,)}), ()),
        # workers die
        (State(idle=("w", "v")), Died("w", "killed", 0.5), State(idle=("v",), deaths=1), ()),
        (State(busy={"w": (1, 2)}), Died("w", "killed", 0.5), State(suspects=(1, 2), deaths=1), ()),
        (
            State(busy={"w": (1, 2)}, idle=("v",)),
            Died("w", "killed", 0.5),
            State(idle=("v",), suspects=(1, 2), deaths=1),
            (Take("v", 1, row=1),),
        ),
        (State(busy={"w": (7,)}), Died("w", "killed", 0.5), State(suspects=(7,), deaths=1), ()),
        (
            State(busy={"w": (7,)}, suspects=(7, 8)),
            Died("w", "killed", 0.5),
            State(suspects=(8,), deaths=1, failed=1),
            (Fail(7, DEATH),),
        ),
        (
            State(busy={"w": (7,)}, suspects=(7, 8), idle=("v",)),
            Died("w", "killed", 0.5),
            State(suspects=(8,), deaths=1, failed=1, idle=("v",)),
            (Fail(7, DEATH), Take("v", 1, row=8)),
        ),
        # time passes
        (EMPTY, Tick(0.5), EMPTY, ()),
        (State(waiting=1, idle=("w",)), Tick(0.5), State(waiting=1, idle=("w",)), ()),
        (State(waiting=1, idle=("w",)), Tick(1.0), State(waiting=1, idle=("w",)), (BATCH,)),
        (State(waiting=9), Tick(9.0), State(waiting=9), ()),
    ],
)
def test_each_event_in_each_state(before: State, event: Event, after: State, effects: tuple[object, ...]) -> None:
    state, said = step(before, event, SPEC)
    assert state == after
    assert said == effects


@pytest.mark.parametrize(
    ("state", "due"),
    [
        (EMPTY, None),
        (State(waiting=1, since=4.0), None),
        (State(idle=("w",)), None),
        (State(waiting=1, since=4.0, idle=("w",)), 5.0),
    ],
)
def test_a_tick_is_due_only_when_samples_wait_for_company(state: State, due: float | None) -> None:
    assert wake_at(state, SPEC) == due


def test_a_state_is_kept_as_json() -> None:
    state = State(waiting=2, since=1.5, idle=("w",), busy={"v": (1, 2)}, suspects=(2,), model="m", deaths=1)
    assert json.decode(json.encode(state), type=State) == state


class Table:
    """Samples in a table, workers with their batches, and the machine between them."""

    def __init__(self, poison: frozenset[int] = frozenset()) -> None:
        self.state = State()
        self.poison = poison
        self.rows = 0
        self.open: set[int] = set()
        self.hands: dict[str, tuple[int, ...]] = {}
        self.failed: set[int] = set()
        self.alone: dict[int, int] = {}
        self.now = 0.0

    def tell(self, event: Event) -> None:
        """One event and, as the shell does, all that follows from it."""
        self.state, effects = step(self.state, event, SPEC)
        pending = list(effects)
        while pending:
            effect = pending.pop(0)
            if isinstance(effect, Fail):
                self.fail(effect.row)
            else:
                rows = self.take(effect)
                self.state, more = step(self.state, Taken(effect, rows, self.now), SPEC)
                pending += more

    def take(self, take: Take) -> tuple[int, ...]:
        wanted = [take.row] if take.row is not None else sorted(self.open - set(take.skip))
        rows = tuple(row for row in wanted if row in self.open)[: take.limit]
        assert not set(rows) & set(chain(*self.hands.values())), "one row in two hands"
        assert len(rows) <= SPEC.batch_size
        if rows:
            assert take.worker not in self.hands
            self.hands[take.worker] = rows
        return rows

    def fail(self, row: int) -> None:
        assert self.alone.get(row, 0) >= 1, "failed without having killed alone"
        self.open.remove(row)
        self.failed.add(row)

    def arrive(self, number: int) -> None:
        self.open |= set(range(self.rows, self.rows + number))
        self.rows += number
        self.tell(Arrived(number, self.now))

    def finish(self, worker: str, *, dies: bool = False) -> None:
        """A worker's batch ends; a poison row always kills."""
        rows = self.hands.pop(worker, ())
        if dies or self.poison & set(rows):
            if len(rows) == 1:
                self.alone[rows[0]] = self.alone.get(rows[0], 0) + 1
            self.tell(Died(worker, "killed", self.now))
            return
        self.open -= set(rows)
        self.tell(Answered(worker, 0, self.now))

    def start_anew(self, worker: str) -> None:
        """A worker is ready although nobody said that it died."""
        rows = self.hands.pop(worker, ())
        if len(rows) == 1:
            self.alone[rows[0]] = self.alone.get(rows[0], 0) + 1
        self.tell(Ready(worker, "m", self.now))

    def restart(self) -> None:
        self.hands.clear()
        self.tell(Started(len(self.open), self.now))

    def check(self) -> None:
        in_hands = set(chain(*self.hands.values()))
        assert self.state.busy == self.hands
        assert len(set(self.state.idle)) == len(self.state.idle)
        assert not set(self.state.idle) & set(self.state.busy)
        lone = set(self.state.suspects) - in_hands
        assert self.state.waiting == len(self.open - in_hands - lone), "a waiting sample that the machine does not know"


WORKERS = st.sampled_from(["a", "b", "c"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 7)),
        st.tuples(st.sampled_from(["ready", "finish", "die", "anew"]), WORKERS),
        st.tuples(st.just("wait"), st.floats(0.0, 2.0)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=50,
)


def play(table: Table, events: list[tuple[str, object]]) -> None:
    for what, value in events:
        if what == "arrive":
            table.arrive(int(str(value)))
        elif what == "wait":
            table.now += float(str(value))
            table.tell(Tick(table.now))
        elif what == "restart":
            table.restart()
        elif what == "ready":
            if value not in table.hands:
                table.tell(Ready(str(value), "m", table.now))
        elif what == "anew":
            table.start_anew(str(value))
        else:
            table.finish(str(value), dies=what == "die")
        table.check()


@given(EVENTS, st.frozensets(st.integers(0, 30), max_size=3))
@settings(max_examples=300, deadline=None)
def test_no_row_is_in_two_hands_and_none_is_forgotten(events: list[tuple[str, object]], poison: frozenset[int]) -> None:
    play(Table(poison), events)


@given(EVENTS, st.frozensets(st.integers(0, 30), max_size=3))
@settings(max_examples=150, deadline=None)
def test_in_the_end_every_row_is_answered_and_only_poison_fails(
    events: list[tuple[str, object]], poison: frozenset[int]
) -> None:
    table = Table(poison)
    innocent = [(what, value) for what, value in events if what not in ("die", "anew")]
    play(table, innocent)
    for _ in range(4 * table.rows + 10):
        table.now += SPEC.batch_wait_s
        for worker in ("a", "b", "c"):
            if worker in table.hands:
                table.finish(worker)
            if worker not in table.state.idle and worker not in table.hands:
                table.tell(Ready(worker, "m", table.now))
        table.tell(Tick(table.now))
    assert table.open == set()
    assert table.failed == {row for row in poison if row < table.rows}


def test_a_poison_row_takes_its_neighbours_with_it_only_once() -> None:
    table = Table(poison=frozenset({1}))
    table.tell(Ready("a", "m", 0.0))
    table.arrive(3)
    table.finish("a")
    assert (table.state.suspects, table.state.deaths) == ((0, 1, 2), 1)
    for worker in ("b", "c"):
        table.tell(Ready(worker, "m", 0.0))
    assert table.hands == {"b": (0,), "c": (1,)}
    table.finish("c")
    table.finish("b")
    assert (table.failed, table.state.deaths, table.state.failed) == ({1}, 2, 1)
    table.finish("b")
    assert (table.open, table.state.answered) == (set(), 2)


def test_what_the_machine_counts_survives_a_restart() -> None:
    table = Table()
    table.tell(Ready("a", "m", 0.0))
    table.arrive(3)
    table.finish("a")
    table.arrive(2)
    before = table.state
    table.restart()
    assert (table.state.answered, table.state.waiting, table.state.idle) == (3, 2, ())
    assert structs.replace(before, idle=(), model="") == table.state
