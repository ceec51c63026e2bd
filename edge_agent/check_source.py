"""What `edge-agent check-plugin` looks at in a source: what it yields, how soon, and what becomes of it."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from edge_agent import jobs
from edge_agent.engines.protocol import TensorSpec
from edge_agent.plugins import PluginFailed
from edge_agent.sources.feed import Bad, Feed, Sample, SourceError
from messages.desk.findings import Finding, fail, ok, warn
from messages.tensors import DTYPES

LISTEN_S: Final = 5.0
MOST: Final = 20
"""A source is listened to for so long, or until it gave so many samples."""

Heard = tuple[list[Sample | Bad], list[bytes], str | Exception]
"""What a source yielded, each sample's content when it came, and how it went on."""


def examine(name: str, open_source: Callable[[], Any], takes: TensorSpec | None) -> Iterator[Finding]:
    """Open a source and look at what it yields; `takes` is what its job's engine takes, where that is known."""
    taken, contents, end = asyncio.run(_listen(name, open_source))
    samples = [item for item in taken if isinstance(item, Sample)]
    bad = [item for item in taken if isinstance(item, Bad)]
    if isinstance(end, Exception):
        yield fail(
            "goes on", str(end), "yield arrays or (id, array), and Bad(where, reason) for a reading that is none"
        )
    elif not samples:
        none = "it ended before it" if end == "ended" else f"none in {LISTEN_S:g} s"
        yield fail("first sample", none, "yield one soon, or IDLE while there is none")
    if not samples:
        return
    yield ok("first sample", jobs.described(samples[0].x))
    for reading in bad[:1]:
        yield warn(
            "bad readings", f"{len(bad)} of {len(taken)}; {reading.where}: {reading.reason}", "see what it reads"
        )
    yield _fits(samples, takes)
    yield _ids(samples)
    changed = any(sample.x.tobytes() != content for sample, content in zip(samples, contents, strict=True))
    problem = "a sample changed after it was yielded: it may be judged, or sent, only then"
    yield fail("memory", problem, "yield array.copy()") if changed else ok("memory")
    if not isinstance(end, Exception):
        yield ok("goes on", f"{len(taken)} readings, then it {end}")


async def _listen(name: str, open_source: Callable[[], Any]) -> Heard:
    taken, contents = list[Sample | Bad](), list[bytes]()
    async with Feed(name, open_source, "every") as feed:
        try:
            async with asyncio.timeout(LISTEN_S):
                async for item in feed:
                    taken.append(item)
                    if isinstance(item, Sample):
                        contents.append(item.x.tobytes())
                    if len(taken) == MOST:
                        return taken, contents, "had more"
        except TimeoutError:
            return taken, contents, "was quiet"
        except (PluginFailed, SourceError) as error:
            return taken, contents, error
    return taken, contents, "ended"


def _fits(samples: list[Sample], takes: TensorSpec | None) -> Finding:
    forms = {jobs.described(sample.x) for sample in samples}
    if takes is not None and forms != {str(takes)}:
        return fail("form", f"yields {', '.join(sorted(forms))}, the engine takes {takes}", f"yield {takes}")
    strange = [sample.x.dtype.name for sample in samples if sample.x.dtype.name not in DTYPES]
    if strange:
        return fail("form", f"yields {strange[0]}", f"yield one of {', '.join(DTYPES)}")
    if len(forms) > 1:
        return fail("form", f"yields {', '.join(sorted(forms))}", "yield one dtype and shape: an engine takes only one")
    if any(sample.x.dtype.kind == "f" and not np.isfinite(sample.x).all() for sample in samples):
        return fail(
            "form", "yields NaN or infinity, which the hub refuses", "yield Bad(where, reason) for such a reading"
        )
    return ok("form", forms.pop())


def _ids(samples: list[Sample]) -> Finding:
    ids = [sample.sample_id for sample in samples if sample.sample_id]
    twice = next((name for name in ids if ids.count(name) > 1), "")
    cure = "give each sample an id that no other will have, or none"
    return fail("ids", f"{twice!r} came twice: the hub stores one of them", cure) if twice else ok("ids")
