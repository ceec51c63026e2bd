"""What both programs say of a user's own code: where it raised, and how long it takes."""

import sysconfig
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final

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
