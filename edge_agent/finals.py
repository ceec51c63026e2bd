"""A final prediction's way: to the apps, then to the job's sink and to whoever waits for it in a script.

The link hears what became of it, and receipts only what was delivered: a final that nobody could be given comes again.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial

from edge_agent.answers import Expected
from edge_agent.apps import Apps
from edge_agent.core.exchange import Told
from edge_agent.jobs import Job
from edge_agent.plugins import PluginFailed
from messages.shapes import Prediction

_log = logging.getLogger("edge_agent")


def nobody_asks(_: Told) -> None:
    """The `then` of a final that the hub does not wait to hear of."""


class Finals:
    """Delivers to these jobs' sinks, to what is `expected`, and first of all to the `apps` where there are some."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self.expected = Expected()
        self.apps: Apps | None = None
        self._jobs = jobs
        self._complaints: dict[str, str] = {}

    def deliver(self, final: Prediction, then: Callable[[Told], None] = nobody_asks) -> None:
        """Deliver a final prediction; `then` is called with what became of it, now or when the broker has answered."""
        here = partial(self._deliver_here, final, then)
        if self.apps is None:
            here(Told.TOLD)
        else:
            self.apps.confirm(final, here)

    def hand_over(self, job: Job, prediction: Prediction) -> bool:
        """Give a prediction to a job's sink. One that fails is named once, until it fails in another way."""
        try:
            job.deliver(prediction)
        except PluginFailed as error:
            if self._complaints.get(job.name) != str(error):
                _log.error("job %s: sink %s", job.name, error)
            self._complaints[job.name] = str(error)
            return False
        self._complaints.pop(job.name, None)
        return True

    def _deliver_here(self, final: Prediction, then: Callable[[Told], None], told: Told) -> None:
        """Go on after the apps, who have it or could not be reached."""
        job = self._jobs.get(final.job)
        if job is not None and final.origin == "cloud":
            job.hub_is_late = False
        if told is Told.TOLD and job is not None and not self.hand_over(job, final):
            told = Told.FAILED
        if told is Told.TOLD:
            self.expected.settle(final)
        then(told)
