"""Standard input as a source: one sample a line, in JSON."""

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.feed import IDLE, Bad, Keep, Sample
from messages.tensors import from_lists

MAX_LINE: Final = 4 << 20
"""The largest sample that can be sent fits into this many bytes; of a longer line the rest is thrown away."""

_STDIN: Final = 0
_TICK_S: Final = 1.0


class Line(msgspec.Struct, frozen=True):
    """A line that names its sample."""

    x: Any
    sample_id: str = ""


class Stdin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines of `{"sample_id": "a", "x": [[1, 2], [3, 4]]}`, or only of nested lists; an id is drawn for those.

    A line that is something else is a bad reading, named by its number. It ends when the input does.
    """

    @property
    def keep(self) -> Keep:
        """What was piped in is wanted."""
        return "every"

    def open(self, takes: TensorSpec, folder: Path) -> Iterator[Any]:  # noqa: ARG002  # there are no paths here
        """The samples of the lines."""
        number = 0
        for line in _lines():
            number += line is not None
            if line is None:
                yield IDLE
            elif line.strip():
                yield _read(line, number, takes)


def _read(line: bytes, number: int, takes: TensorSpec) -> Sample | Bad:
    if len(line) > MAX_LINE:
        return Bad(f"line {number}", f"longer than {MAX_LINE} bytes")
    try:
        said = msgspec.json.decode(line)
        given = msgspec.convert(said, Line) if isinstance(said, dict) else Line(said)
        return Sample(given.sample_id, from_lists(given.x, takes.dtype))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Bad(f"line {number}", str(error))


def _lines() -> Iterator[bytes | None]:
    """The lines of the input without their ends; None when none came for a while.

    Not by `sys.stdin`: a thread that waits in its lock would abort the interpreter when it ends.
    """
    rest = b""
    while True:
        if not select.select([_STDIN], [], [], _TICK_S)[0]:
            yield None
            continue
        chunk = os.read(_STDIN, 1 << 16)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        rest = rest[: MAX_LINE + 1]
        if not chunk:
            break
    yield rest
