"""What both programs say of a user's own code: where it raised, what it takes, how it behaves and how long it takes."""

import inspect
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from messages.desk.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    import numpy as np

_OURS: Final = tuple(str(Path(__file__).parents[2] / name) for name in ("messages", "edge_agent", "cloud_hub"))

MOST_CALLS: Final = 50
MOST_S: Final = 1.0
"""How often, or how long, a plug-in is called to see how long it takes."""


def described(error: BaseException | None) -> str:
    """An error in one line, with the place in the user's file, else in a library's, where it was raised."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    places: dict[bool, str] = {}
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        library = file.startswith(_paths("purelib", "platlib"))
        if library or not file.startswith(("<", *_OURS, *_paths("stdlib"))):
            places[library] = f" ({Path(file).name}:{trace.tb_lineno})"
        trace = trace.tb_next
    return text + (places.get(False) or places.get(True) or "")


def _paths(*names: str) -> tuple[str, ...]:
    return tuple(sysconfig.get_paths()[name] for name in names)


def p50_ms(call: Callable[[], object]) -> float:
    """The median time of a call in ms."""
    began, times = perf_counter(), list[float]()
    while len(times) < MOST_CALLS and perf_counter() - began < MOST_S:
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return 1000.0 * sorted(times)[len(times) // 2]


def battery(signature: Finding, cases: Iterable[Finding], habits: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Each part only where the one before found nothing wrong."""
    yield signature
    if not signature.problem:
        found = list(cases)
        yield from found
        if not any(finding.problem for finding in found):
            yield from habits()


def takes_one(function: Callable[..., Any], what: str, argument: str = "one argument") -> Finding:
    """Whether something can be called with one argument, and is a plain function."""
    if inspect.iscoroutinefunction(function):
        return fail("signature", f"{what} is async, and would never be awaited", "make it a plain function")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        return fail("signature", f"{what}: {error}", f"let {what} take {argument}")
    except ValueError:  # written in C: the calls will tell
        pass
    return ok("signature")


def random_numbers(dtype: str, shape: tuple[int, ...]) -> "np.ndarray[Any, Any]":
    """A sample or a batch. Random bytes are printable, so that those which are text can be read."""
    import numpy as np

    random = np.random.default_rng(1)
    low, high = (32, 127) if dtype in ("uint8", "int8") else (0, 2)
    numbers = random.random(shape) if dtype.startswith("float") else random.integers(low, high, shape)
    return np.asarray(numbers).astype(dtype)


def same_twice(same: object, problem: str, cure: str) -> Finding:
    """Whether the second call gave what the first did."""
    return ok("the same twice") if same else warn("the same twice", problem, cure)
