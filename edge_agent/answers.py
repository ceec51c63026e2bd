"""What a script gets from `infer`: the edge's prediction at once, the hub's when it comes."""

import asyncio
from weakref import WeakValueDictionary

from messages.shapes import Prediction, Value

Final = asyncio.Future[Prediction]


class FirstAnswer:
    """The edge's prediction for one sample."""

    __slots__ = ("prediction",)

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction

    @property
    def value(self) -> Value | None:
        """What the edge model says."""
        return self.prediction.value

    @property
    def provisional(self) -> bool:
        """Whether the sample was stored to be sent on, so that a final answer will come."""
        return self.prediction.provisional

    @property
    def reason(self) -> str:
        """Why the policy called the sample hard, or easy."""
        return self.prediction.reason

    @property
    def sample_id(self) -> str:
        """What ties the final prediction to this one."""
        return self.prediction.sample_id


class EdgeAnswer(FirstAnswer):
    """The edge's prediction for one sample. When it is provisional, `final` waits for the hub's."""

    __slots__ = ("_final",)

    def __init__(self, prediction: Prediction, final: Final | None) -> None:
        super().__init__(prediction)
        self._final = final

    async def final(self, timeout: float | None = None) -> Prediction:  # noqa: ASYNC109  # part of the public face
        """The final prediction: this one where it is not provisional. Raises TimeoutError after `timeout` seconds.

        With the hub away there is none for a long time; the sample is kept, and the job's sink gets the answer.
        """
        if self._final is None:
            return self.prediction
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._final)


class Expected:
    """The finals that somebody may still wait for; those that nobody holds any more cost nothing."""

    def __init__(self) -> None:
        self._finals: WeakValueDictionary[tuple[str, str], Final] = WeakValueDictionary()

    def expect(self, job: str, sample_id: str) -> Final:
        """The future of one sample's final prediction."""
        final = self._finals.get((job, sample_id))
        if final is None or final.done():
            final = asyncio.get_running_loop().create_future()
            self._finals[job, sample_id] = final
        return final

    def settle(self, prediction: Prediction) -> None:
        """The final prediction came."""
        final = self._finals.pop((prediction.job, prediction.sample_id), None)
        if final is not None and not final.done():
            final.set_result(prediction)
