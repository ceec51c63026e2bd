"""What a stop (SIGTERM, SIGINT) does to a program, from its first lines to its last: it ends, and the exit code is 0.

Imported before anything slow. What comes even earlier, while the interpreter itself starts, cannot be caught.
"""

import atexit
import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


def serves(arguments: Sequence[str]) -> bool:
    """Whether a command runs until it is stopped; any other that is cut short has not done what it should."""
    return arguments[:1] == ["run"] and "--check-config" not in arguments


def leave_at_once() -> None:
    """Let a stop end the process on the spot, while nothing is open yet that has to be closed.

    An exception would not do: one that comes up in a finalizer, or in a library's `except`, is lost.
    """
    _handle(lambda *_: os._exit(0))
    atexit.register(_handle, signal.SIG_IGN)  # the interpreter would bring the system's ways back while it ends


def leave_in_order(loop: "AbstractEventLoop", stop: Callable[[], object]) -> None:
    """Let a stop call `stop` in the event loop. Once that is closed, a further stop ends the process on the spot.

    `loop.add_signal_handler` would bring the system's ways back when the loop is closed.
    """
    _handle(lambda *_: os._exit(0) if loop.is_closed() else loop.call_soon_threadsafe(stop))


def _handle(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
