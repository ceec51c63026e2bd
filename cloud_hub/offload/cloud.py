"""The big model's answers for a file of samples: from a worker process, as the hub's own."""

import asyncio
from dataclasses import replace

import numpy as np

from cloud_hub.calibration.rows import UNKNOWN
from cloud_hub.config import JobSettings
from cloud_hub.offload.examples import Array, Examples, NoExamples
from cloud_hub.store.protocol import Waiting
from cloud_hub.workers.frames import Load
from cloud_hub.workers.process import ModelBroken, WorkerDied, WorkerProcess
from messages.shapes import Classes
from messages.tensors import pack


def answered(examples: Examples, job: JobSettings, folder: str) -> Examples:
    """The same with the big model's classes, where the file had none of the cloud. Raises NoExamples.

    `folder` is where the user's modules lie.
    """
    if not len(examples.x) or examples.cloud.max() != UNKNOWN:
        return examples
    if not job.predictor:
        raise NoExamples("the file has no array cloud, and the job has no predictor that could be asked")
    return replace(examples, cloud=asyncio.run(_classes(job, folder, examples.x)))


async def _classes(job: JobSettings, folder: str, x: Array) -> Array:
    samples = [Waiting(row, "", "", "", pack(sample), 0) for row, sample in enumerate(x)]
    found = np.full(len(x), UNKNOWN)
    process = await WorkerProcess.start()
    try:
        await process.load(Load(job.predictor, job.model, folder), job.load_timeout_s)
        for start in range(0, len(samples), job.batch_size):
            verdicts = await process.predict(samples[start : start + job.batch_size], job.timeout_s)
            if verdicts[0].error:
                raise NoExamples(f"the big model: {verdicts[0].error}")
            for verdict in verdicts:
                if isinstance(verdict.value, Classes):
                    found[verdict.row] = int(np.argmax(verdict.value.probs))
    except (WorkerDied, ModelBroken) as error:
        raise NoExamples(f"the big model: {error}") from error
    finally:
        await process.kill()
    return found
