"""What travels of a sample that is sent: written as the job's config says, and kept as small as the hub wants it."""

import logging
from asyncio import get_running_loop
from concurrent.futures import Executor
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta, Struct

from edge_agent.engines.protocol import ModelError, TensorSpec
from messages.encodings import MOST_BYTES, Name, Unfit
from messages.shapes import Tensor
from messages.tensors import pack

if TYPE_CHECKING:
    import numpy as np

MAX_SAMPLE_BYTES: Final = MOST_BYTES
"""What the hub takes of one sample."""

TOO_LARGE: Final = "too_large"
"""The reason of a sample that was hard and is not sent, because the hub would not take it."""

INLINE_S: Final = 0.002
"""What is done within this time is done in the event loop: a thread would cost more than it saves."""

_log = logging.getLogger("edge_agent")


class Encoding(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How samples travel: raw (""), floats in half precision, compressed, or as pictures of this `quality` (85)."""

    use: Name = ""
    quality: Annotated[int, Meta(ge=1, le=100)] | None = None

    def __post_init__(self) -> None:
        if self.quality is not None and self.use not in ("jpeg", "webp"):
            raise ValueError(f"quality {self.quality}: only jpeg and webp have one")


class Encoder:
    """Writes the samples of one job. `takes` is what its engine takes."""

    def __init__(self, job: str, encoding: Encoding, takes: TensorSpec) -> None:
        self._job = job
        self._use: Name = encoding.use
        self._quality = encoding.quality or 85
        self._takes = takes
        self._quickest = float("inf") if encoding.use else 0.0
        self._said: set[str] = set()

    def check(self) -> None:
        """Whether samples can be written so at all. Raises ModelError, saying why not."""
        import numpy as np

        try:
            size = len(pack(np.zeros(self._takes.shape, self._takes.dtype), self._use, quality=self._quality).data)
        except Unfit as error:
            raise ModelError(f"jobs.{self._job}.encoding = {error}") from error
        except ImportError as error:
            said = f"{self._use!r}: needs Pillow: pip install 'skerry[images]'"
            raise ModelError(f"jobs.{self._job}.encoding = {said}") from error
        if size > MAX_SAMPLE_BYTES:
            raise ModelError(
                f"a sample ({self._takes}) has {size} bytes, at most {MAX_SAMPLE_BYTES} can be sent;"
                ' name an encoding like "gzip" or "jpeg", make samples smaller or use policy = "edge_only"'
            )

    async def write(self, x: "np.ndarray[Any, Any]", threads: Executor) -> Tensor | None:
        """A sample as it travels; None when it is too large even so. A slow encoding runs in one of the threads."""
        if self._quickest <= INLINE_S:
            return self._write(x)
        return await get_running_loop().run_in_executor(threads, self._write, x)

    def _write(self, x: "np.ndarray[Any, Any]") -> Tensor | None:
        began = perf_counter()
        try:
            tensor = pack(x, self._use, quality=self._quality)
        except Unfit as error:
            self._say("precision", f"a sample travels in full precision: {error}")
            tensor = pack(x, "gzip" if self._use == "float16+gzip" else "")
        self._quickest = min(self._quickest, perf_counter() - began)
        if len(tensor.data) <= MAX_SAMPLE_BYTES:
            return tensor
        size = len(tensor.data)
        self._say(TOO_LARGE, f"a sample has {size} bytes, at most {MAX_SAMPLE_BYTES} can be sent: it stays here")
        return None

    def _say(self, kind: str, line: str) -> None:
        """Once for each kind: the next sample would say the same."""
        if kind not in self._said:
            self._said.add(kind)
            _log.warning("job %s: %s", self._job, line)
