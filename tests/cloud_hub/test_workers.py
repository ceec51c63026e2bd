"""Big models in worker processes: loading, batches, bad samples, deaths, and no orphans."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen
from typing import Any

import numpy as np
import pytest

from cloud_hub.config import JobSettings
from cloud_hub.store.protocol import Waiting
from cloud_hub.workers import predictor
from cloud_hub.workers.frames import Batch, Load, framed
from cloud_hub.workers.pool import Answered, Died, Event, Pool, Ready
from messages.shapes import Classes, Scalar
from messages.tensors import pack
from tests.support.big_models import write_models

ROOT = Path(__file__).parents[2]


def waiting(*numbers: float) -> list[Waiting]:
    return [
        Waiting(row, "device-1", "digits", str(row), pack(np.array([number, 1.0], "float32")), 0)
        for row, number in enumerate(numbers, 1)
    ]


class Story:
    """A pool and what it has told so far."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.pool: Pool

    async def next(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(20):
            event = await self.events.get()
        assert isinstance(event, kind), event
        return event

    async def ask(self, worker: str, *numbers: float) -> dict[int, Any]:
        self.pool.predict(worker, waiting(*numbers))
        answered = await self.next(Answered)
        return {verdict.row: verdict.error or verdict.value for verdict in answered.verdicts}


@asynccontextmanager
async def running(folder: Path, **settings: Any):
    write_models(folder)
    story = Story()
    job = JobSettings(**settings)
    story.pool = Pool({"digits": job}, str(folder), tell=story.events.put_nowait, random=Random(1))
    task = asyncio.create_task(story.pool.run(), name="pool")
    try:
        yield story
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert not story.pool.pids


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_worker_says_which_model_it_has_and_answers_batches(tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    async with running(tmp_path, predictor="big:sides", model=str(model)) as story:
        assert story.pool.missing == {"digits": 1}
        ready = await story.next(Ready)
        assert (ready.job, ready.digest) == ("digits", sha256(b"weights").hexdigest())
        assert story.pool.missing == {}
        answers = await story.ask(ready.worker, 5.0, -5.0)
        assert answers == {1: Classes(probs=(0.0, 1.0)), 2: Classes(probs=(1.0, 0.0))}
        (pid,) = story.pool.pids.values()
    assert not alive(pid)


async def test_one_bad_sample_spoils_only_its_own_answer(tmp_path: Path) -> None:
    async with running(tmp_path, predictor="big:Moody") as story:
        ready = await story.next(Ready)
        answers = await story.ask(ready.worker, 1.0, 9.0, 8.0, 2.0)
        sure = Classes(probs=(0.25, 0.75))
        assert answers == {
            1: sure, 2: "RuntimeError: too hard (big.py:25)", 3: "the predictor gave NaN or infinity", 4: sure,
        }  # fmt: skip


async def test_a_worker_that_dies_is_told_and_another_takes_its_place(tmp_path: Path) -> None:
    async with running(tmp_path, predictor="big:Moody") as story:
        first = await story.next(Ready)
        story.pool.predict(first.worker, waiting(7.0))
        died = await story.next(Died)
        assert (died.worker, died.reason) == (first.worker, "it was killed by SIGKILL")
        second = await story.next(Ready)
        assert second.worker != first.worker
        story.pool.predict(first.worker, waiting(7.0))  # for one that is gone: reaches nobody
        assert (await story.ask(second.worker, 1.0)).keys() == {1}


async def test_a_worker_that_dies_while_it_has_nothing_to_do_is_noticed(tmp_path: Path) -> None:
    async with running(tmp_path, predictor="big:sides") as story:
        ready = await story.next(Ready)
        os.kill(story.pool.pids[ready.worker], signal.SIGTERM)
        assert (await story.next(Died)).reason == "it was killed by SIGTERM"
        await story.next(Ready)


async def test_a_batch_that_takes_too_long_ends_its_worker(tmp_path: Path) -> None:
    async with running(tmp_path, predictor="big:Moody", timeout_s=0.3) as story:
        ready = await story.next(Ready)
        pid = story.pool.pids[ready.worker]
        story.pool.predict(ready.worker, waiting(6.0))
        assert (await story.next(Died)).reason == "a batch of 1 took longer than 0.3 s"
        assert not alive(pid)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"predictor": "big:broken", "model": "m.bin"}, "big:broken with m.bin: [Errno 2] No such file"),
        ({"predictor": "big:broken"}, "big:broken: ValueError:  has no weights (big.py:45)"),
        ({"predictor": "nowhere:predict"}, "nowhere:predict: ModuleNotFoundError: No module named 'nowhere'"),
        ({"predictor": "big:other"}, "AttributeError: module 'big' has no attribute 'other'"),
        ({"predictor": "big:np"}, "big:np is module, not something to call"),
    ],
)
async def test_a_model_that_cannot_be_loaded_is_told_with_its_reason(
    tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    async with running(tmp_path, **settings) as story:
        died = await story.next(Died)
        assert reason.replace("  ", " ") in died.reason
        assert story.pool.missing == {"digits": 1}


def test_no_orphan_stays_when_the_hub_is_killed_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    write_models(tmp_path)
    command = [sys.executable, "-m", "cloud_hub.workers.serve"]
    with Popen(command, stdin=PIPE, stdout=PIPE, cwd=ROOT) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(framed(Load("big:Moody", "", str(tmp_path))))
        worker.stdin.flush()
        assert worker.stdout.read(4)
        (sample,) = waiting(6.0)
        worker.stdin.write(framed(Batch(((1, sample.x),))))
        worker.stdin.close()
        assert worker.wait(timeout=10) == 0


def _answers(output: Any, number: int = 2) -> Sequence[Any]:
    samples = [(row, pack(np.ones(3, "float32"))) for row in range(number)]
    return [verdict.error or verdict.value for verdict in predictor.answer(lambda batch: output[: len(batch)], samples)]


def test_a_predictor_may_give_values() -> None:
    values = [Scalar(scalar=1.5), Scalar(scalar=2.5)]
    assert _answers(values) == values


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (np.ones((2, 3)), "no probabilities: their sum is 3"),
        (np.ones((2, 3, 4)), r"gave shape \(3, 4\) for a sample"),
        (np.array([0.5, 0.5]), r"gave shape \(\) for a sample"),
        (["cat", "dog"], "could not convert string"),
        ([], "gave 0 answers for 1 samples"),
    ],
)
def test_what_is_no_answer_becomes_an_error_of_its_sample(output: Any, error: str) -> None:
    import re

    for answer in _answers(output):
        assert isinstance(answer, str)
        assert re.search(error, answer)


def test_samples_of_different_shapes_are_batched_apart() -> None:
    samples = [(row, pack(np.ones(size, "float32"))) for row, size in enumerate((2, 3, 2))]
    seen: list[tuple[int, ...]] = []

    def predict(batch: Any) -> Any:
        seen.append(batch.shape)
        return np.full((len(batch), 2), 0.5)

    assert len(predictor.answer(predict, samples)) == 3
    assert seen == [(2, 2), (1, 3)]
