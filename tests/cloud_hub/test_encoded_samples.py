"""What agents send encoded: real agents and a real hub on a bus in memory, and a node that lies about its pictures."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from cloud_hub.config import HubSettings, InputSettings, JobSettings
from cloud_hub.ingest.inference import JobSpec
from cloud_hub.store.database import HubDatabase
from cloud_hub.store.folder import opened, reading
from cloud_hub.workers import predictor
from edge_agent.agent import Agent
from edge_agent.config import load
from messages import channels
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.codec import encode
from messages.shapes import Classes
from messages.tensors import pack
from tests.messages.test_encodings import LIES_AT_ONCE, LIES_WITHIN, picture
from tests.support.nodes import Hub, sample
from tests.support.running_hub import hub, limits, node
from tests.support.small_agent import write_agent

FRAME = (416, 736, 3)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def settings(shape: tuple[int, ...]) -> HubSettings:
    job = JobSettings(predictor="big:sides", input=InputSettings(dtype="uint8", shape=shape))
    return HubSettings(jobs={"frames": job}, limits=limits())


def agent_of(folder: Path, broker: MemoryBroker, encoding: str, shape: tuple[int, ...] = FRAME) -> Agent:
    """An agent that sends every picture."""
    job = f'[jobs.frames]\nmodel = "pixels.npz"\npolicy = "cloud_only"\nencoding = {encoding}\n'
    file = write_agent(folder / "agent", jobs=job)
    about = {"input_dtype": np.array("uint8"), "input_shape": np.array(",".join(map(str, shape)))}
    weights = np.zeros((int(np.prod(shape)), 2), "float32")
    np.savez(folder / "agent" / "pixels.npz", w0=weights, b0=np.zeros(2, "float32"), **about)  # type: ignore[arg-type]
    down = [channels.downlink("default", "device-1")]
    return Agent(
        load(file), file, make_bus=lambda will: MemoryBus(broker, client_id="device-1", subscriptions=down, will=will)
    )


def stored(folder: Path) -> tuple[Any, ...]:
    with closing(reading(folder / "data")) as reader:
        row: tuple[Any, ...] = reader.execute("SELECT encoding, size, length(data) FROM samples").fetchone()
        return row


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp", "gzip"])
async def test_a_frame_travels_encoded_is_stored_as_it_came_and_answered(tmp_path: Path, broker, encoding: str) -> None:
    async with hub(tmp_path, broker, settings(FRAME)), agent_of(tmp_path, broker, f'"{encoding}"') as agent:
        answer = await agent.infer(picture(*FRAME))
        assert answer.provisional
        final = await answer.final(timeout=20.0)
        assert (final.origin, final.value) == ("cloud", Classes(probs=(0.0, 1.0)))
        kept, size, length = stored(tmp_path)
        assert (kept, size) == (encoding, length)
        assert size < 300_000 < picture(*FRAME).nbytes


async def test_a_picture_that_lies_is_answered_with_an_error_and_the_rest_of_its_batch_is_well(
    tmp_path: Path, broker
) -> None:
    async with hub(tmp_path, broker, settings((4, 6, 3))), node(broker, "device-2") as device:
        device.status()
        wrong = structs.replace(pack(picture(6, 4, 3), "png"), shape=(4, 6, 3))
        for name, x in (("good", pack(picture(4, 6, 3), "png")), ("bad", wrong), ("raw", pack(picture(4, 6, 3)))):
            await device.done(device.sample(0.0, name, job="frames", x=x))
        answers = {answer.sample_id: answer for answer in [await device.answer() for _ in range(3)]}
    assert answers["bad"].error == "x.data is a picture of RGB 6 x 4, x.shape is (4, 6, 3)"
    assert answers["bad"].value is None
    assert answers["good"].value == answers["raw"].value == Classes(probs=(0.0, 1.0))


@pytest.mark.parametrize("lie", [lie for lie, _ in LIES_AT_ONCE], ids=lambda lie: f"{lie.encoding[:9]}{lie.shape}")
def test_ingest_refuses_what_is_plainly_a_lie_and_asks_later_for_what_it_does_not_know(lie) -> None:
    known = Hub(jobs={"any": JobSpec()})
    receipt = known.receipt(known.receive(encode(sample(1, job="any", x=lie))))
    assert receipt.done == ()
    if lie.encoding in ("br", "x" * 500):
        assert [later.event_id for later in receipt.later] == ["s.1"]
    else:
        assert receipt.refused[0].reason.startswith("x.")
    assert known.store.sample_totals("any").rows == 0


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_predictor_answers_each_lie_with_its_error_and_every_truth_with_a_value() -> None:
    truth = pack(picture(4, 6, 3), "png")
    samples = list(enumerate([truth, *(lie for lie, _ in LIES_AT_ONCE + LIES_WITHIN), truth]))
    verdicts = predictor.answer(lambda batch: np.full((len(batch), 2), 0.5), samples)
    assert sorted(verdict.row for verdict in verdicts) == list(range(len(samples)))
    good = {verdict.row for verdict in verdicts if not verdict.error}
    assert good == {0, len(samples) - 1}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of a hub that knew no encodings, with a sample in it."""
    with opened(tmp_path, quarantine_rows=1, dead_rows=1) as database:
        with database.transaction():
            database.add_sample("device-1", sample(1), b"a", 7)
        database.connection.execute("ALTER TABLE samples DROP COLUMN encoding")
        database.connection.execute("DELETE FROM _sqlite_migrations WHERE name LIKE '%_encoding'")
    return tmp_path


def test_samples_of_an_older_hub_are_raw(old: Path) -> None:
    with opened(old, quarantine_rows=1, dead_rows=1) as database:
        assert isinstance(database, HubDatabase)
        with database.transaction():
            database.add_sample("device-1", sample(2, x=pack(picture(2, 2), "png")), b"b", 7)
        assert [waiting.x for waiting in database.waiting("digits", 9)] == [
            sample(1).x, pack(picture(2, 2), "png")
        ]  # fmt: skip
