"""Joint inference: samples that the edge found hard go through the big model in micro-batches.

The samples wait in a table; the machine only decides which worker takes how many, and what to do with a sample on
which a worker dies. Its one lasting effect, an answer in the outbox, is committed with the state, so it needs no effect
rows of its own: after a restart `Started` finds the unanswered samples where they were.
"""

from msgspec import Struct, structs


class Spec(Struct, frozen=True, kw_only=True):
    """How to batch: at most `batch_size` samples, none kept from an idle worker longer than `batch_wait_s`."""

    batch_size: int = 32
    batch_wait_s: float = 0.0


class State(Struct, frozen=True, kw_only=True):
    """Where a job stands.

    `busy` maps a worker to the sample rows in its hands. `suspects` are rows of a batch on which a worker died: they go
    one at a time, and the one that kills again, alone, is answered with an error. `since` is the run time at which the
    oldest waiting sample arrived.
    """

    waiting: int = 0
    since: float = 0.0
    idle: tuple[str, ...] = ()
    busy: dict[str, tuple[int, ...]] = {}
    suspects: tuple[int, ...] = ()
    model: str = ""
    answered: int = 0
    failed: int = 0
    deaths: int = 0


class Take(Struct, frozen=True):
    """Give a worker up to `limit` waiting rows, or just `row`; `skip` are in other hands. The shell says `Taken`."""

    worker: str
    limit: int
    skip: tuple[int, ...] = ()
    row: int | None = None


class Fail(Struct, frozen=True):
    """Answer a row with an error."""

    row: int
    reason: str


class Started(Struct, frozen=True, tag=True):
    """The hub started: `waiting` samples are in the table, no worker is there yet."""

    waiting: int
    now: float


class Arrived(Struct, frozen=True, tag=True):
    """New samples were stored."""

    number: int
    now: float


class Ready(Struct, frozen=True, tag=True):
    """A worker has loaded the model with this digest."""

    worker: str
    model: str
    now: float


class Taken(Struct, frozen=True, tag=True):
    """The answer to `Take`: these rows are in the worker's hands now. None: there was nothing after all."""

    take: Take
    rows: tuple[int, ...]
    now: float


class Answered(Struct, frozen=True, tag=True):
    """A worker answered its batch; `failed` of the answers are errors."""

    worker: str
    failed: int
    now: float


class Died(Struct, frozen=True, tag=True):
    """A worker's process is gone, or was killed because it took too long."""

    worker: str
    reason: str
    now: float


class Tick(Struct, frozen=True, tag=True):
    """Time passed."""

    now: float


Event = Started | Arrived | Ready | Taken | Answered | Died | Tick


Effect = Take | Fail


def step(state: State, event: Event, spec: Spec) -> tuple[State, tuple[Effect, ...]]:
    """What happens next."""
    failures: tuple[Effect, ...] = ()
    match event:
        case Started(waiting, now):
            kept = State(answered=state.answered, failed=state.failed, deaths=state.deaths, suspects=state.suspects)
            state = structs.replace(kept, waiting=max(0, waiting - len(state.suspects)), since=now)
        case Arrived(number, now):
            since = state.since if state.waiting else now
            state = structs.replace(state, waiting=state.waiting + number, since=since)
        case Ready(worker, model, _):
            if worker in state.busy:
                state, failures = _died(state, worker, "it started again")
            idle = (*(name for name in state.idle if name != worker), worker)
            state = structs.replace(state, idle=idle, model=model)
        case Taken(take, rows, _):
            state = _taken(state, take, rows)
        case Answered(worker, failed, _):
            state = _answered(state, worker, failed)
        case Died(worker, reason, _):
            state, failures = _died(state, worker, reason)
        case Tick():
            pass
    state, takes = _feed(state, event.now, spec)
    return state, (*failures, *takes)


def wake_at(state: State, spec: Spec) -> float | None:
    """Run time at which a `Tick` is due; None when nothing waits for company."""
    return state.since + spec.batch_wait_s if state.waiting and state.idle else None


def _feed(state: State, now: float, spec: Spec) -> tuple[State, tuple[Effect, ...]]:
    """Give an idle worker what is ready; one worker a step, for `Taken` comes before the next."""
    if not state.idle:
        return state, ()
    worker = state.idle[0]
    in_hands = tuple(row for rows in state.busy.values() for row in rows)
    lone = next((row for row in state.suspects if row not in in_hands), None)
    if lone is not None:
        return state, (Take(worker, 1, row=lone),)
    if state.waiting >= spec.batch_size or (state.waiting and now >= state.since + spec.batch_wait_s):
        return state, (Take(worker, spec.batch_size, skip=(*in_hands, *state.suspects)),)
    return state, ()


def _taken(state: State, take: Take, rows: tuple[int, ...]) -> State:
    if not rows and take.row is not None:
        return structs.replace(state, suspects=tuple(row for row in state.suspects if row != take.row))
    if not rows:
        return structs.replace(state, waiting=0)
    idle = tuple(name for name in state.idle if name != take.worker)
    waiting = state.waiting if take.row is not None else max(0, state.waiting - len(rows))
    return structs.replace(state, idle=idle, busy=state.busy | {take.worker: rows}, waiting=waiting)


def _answered(state: State, worker: str, failed: int) -> State:
    rows = state.busy.get(worker)
    if rows is None:
        return state
    return structs.replace(
        state,
        idle=(*state.idle, worker),
        busy={name: held for name, held in state.busy.items() if name != worker},
        suspects=tuple(row for row in state.suspects if row not in rows),
        answered=state.answered + len(rows) - failed,
        failed=state.failed + failed,
    )


def _died(state: State, worker: str, reason: str) -> tuple[State, tuple[Effect, ...]]:
    rows = state.busy.get(worker, ())
    state = structs.replace(
        state,
        idle=tuple(name for name in state.idle if name != worker),
        busy={name: held for name, held in state.busy.items() if name != worker},
        deaths=state.deaths + 1,
    )
    if len(rows) == 1 and rows[0] in state.suspects:
        suspects = tuple(row for row in state.suspects if row != rows[0])
        state = structs.replace(state, suspects=suspects, failed=state.failed + 1)
        return state, (Fail(rows[0], f"the model's process died on it: {reason}"),)
    new = tuple(row for row in rows if row not in state.suspects)
    return structs.replace(state, suspects=(*state.suspects, *new)), ()
