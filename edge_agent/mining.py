"""Mining before inference: a hard sample goes to the hub first, and to the edge model only where that says nothing."""

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import structs

from edge_agent.answers import Final
from edge_agent.jobs import Job
from messages.shapes import Prediction

if TYPE_CHECKING:
    import numpy as np


async def hub_first(
    job: Job, x: "np.ndarray[Any, Any]", prediction: Prediction, *, final: Final | None, connected: bool
) -> Prediction:
    """The hub's final prediction where it comes in time; the apps have that already. Else the edge's.

    `final` is None for a sample that could not be stored. A hub that was late is not waited for again until an answer
    came: only the first sample waits in vain. Raises SampleError, PluginFailed.
    """
    if final is not None and connected and not job.hub_is_late:
        done, _ = await asyncio.wait({final}, timeout=job.settings.deadline_s)
        job.hub_is_late = not done
    if final is not None and _has_value(final):
        return final.result()
    value = await job.predict(x)
    if final is not None and _has_value(final):  # it came while the edge model ran
        return final.result()
    provisional = final is not None and not final.done()
    return structs.replace(prediction, value=value, provisional=provisional)


def _has_value(final: Final) -> bool:
    return final.done() and final.result().value is not None
