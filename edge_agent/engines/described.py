"""An engine made of a runtime and a description: a sample goes in as it is, a result comes out."""

from typing import Any

import numpy as np

from edge_agent.engines import inputs, outputs
from edge_agent.engines.protocol import ModelError, Runtime, TensorSpec
from messages.models import Description
from messages.shapes import Value

Array = np.ndarray[Any, Any]


class DescribedEngine:
    """Runs one model on one sample at a time. Raises ModelError when file and description do not agree."""

    def __init__(self, runtime: Runtime, description: Description, digest: str) -> None:
        takes = description.input
        self.input = TensorSpec(takes.dtype, takes.shape)
        self.digest = digest
        self.runtime = runtime
        try:
            self._prepare = inputs.preparer(takes, runtime.input)
            self._read = outputs.reader(description.output, runtime.outputs, takes.shape)
            self._run = runtime.run
            for _ in range(description.warm_up):
                self.predict(np.zeros(takes.shape, takes.dtype))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelError(str(error)) from error

    def predict(self, x: Array) -> Array | Value:
        """One sample's result. Raises ValueError, RuntimeError for what the runtime cannot compute."""
        return self._read(self._run(self._prepare(x)))
