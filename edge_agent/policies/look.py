"""What is seen of one sample: how much the big model may help with it, and how far it lies from what is known."""

from math import copysign, isfinite, log, nan
from typing import Any, Final

import numpy as np

from edge_agent.policies.forward import Forward, forward
from edge_agent.policies.rules import readable
from messages.offload import features
from messages.offload.score import scorer
from messages.offload.shapes import Certainty, Network, OffloadPolicy
from messages.shapes import Classes, Value

FAR: Final = 6.0
"""No sample counts as farther away than so many standard deviations: one monster is no change of the world."""

Seen = tuple[str, float, bool, float | None]
"""One sample: why there is no score, or ""; the score; whether it is shifted; its standardised distance, None without a
gate."""


class Look:
    """A policy's score and gate as one function; pooled once for both. Raises ValueError when they do not fit."""

    def __init__(self, policy: OffloadPolicy | None = None) -> None:
        score = Certainty() if policy is None else policy.score
        network = score if isinstance(score, Network) else None
        self._classes = None if network is None else network.classes
        self._certainty = None if isinstance(score, Network) else scorer(score)
        self._gate = None if policy is None else policy.gate
        self._forward: Forward | None = None
        if policy is not None and (network or policy.gate):
            self._forward = forward(network, policy.gate, policy.pool)

    def at(self, value: Any, x: Any) -> Seen:
        """Look at a result and its sample. Never raises, whatever they are."""
        problem, score, p, away = "", 0.0, None, nan
        try:
            result = value if type(value) is Classes else readable(value)
            if type(result) is Classes and len(result.probs) == self._classes:
                p = result.probs
            else:
                problem, score = self._read(result)
            if self._forward is not None:
                gain, away = self._forward(p, x)
                if p is not None:
                    score = gain
        except (FloatingPointError, RuntimeWarning):  # where the program made errors of NumPy's warnings
            problem, score = features.INVALID, 0.0
        if not isfinite(score):
            problem, score = features.INVALID, 0.0
        gate = self._gate
        if gate is None:
            return problem, score, False, None
        if not isfinite(away):
            return problem, score, True, FAR
        spread = (log(away) - gate.location) / gate.scale if away > 0.0 else -FAR
        return problem, score, away > gate.threshold, spread if abs(spread) < FAR else copysign(FAR, spread)

    def _read(self, result: Value | None) -> tuple[str, float]:
        """Why there is no score, or the score: of a certainty, for a network does not see such a result."""
        read = features.INVALID if result is None else features.read(result)
        if isinstance(read, str) or self._certainty is None:
            return read if isinstance(read, str) else features.INVALID, 0.0
        return "", 1.0 - read if isinstance(read, float) else float(self._certainty(np.array(read), None))
