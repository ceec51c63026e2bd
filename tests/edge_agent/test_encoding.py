"""What an agent sends of a hard sample: encoded as its job says, small enough, or not at all."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent import Agent
from edge_agent.config import load
from messages import channels
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.settings.read import ConfigError
from messages.tensors import pack, unpack
from tests.support.scripted_hub import ScriptedHub
from tests.support.small_agent import HARD, JOB, number, write_agent

ALL = 'policy = "cloud_only"\n'
PIXELS = f'[jobs.side]\nmodel = "pixels.npz"\n{ALL}'


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def hub(broker: MemoryBroker) -> ScriptedHub:
    return ScriptedHub(MemoryBus(broker, client_id="hub", subscriptions=[channels.uplink("default")], will=None))


def with_pixels(folder: Path, jobs: str, shape: tuple[int, ...]) -> Path:
    file = write_agent(folder, jobs=jobs)
    about = {"input_dtype": np.array("uint8"), "input_shape": np.array(",".join(map(str, shape)))}
    weights = np.zeros((int(np.prod(shape)), 2), "float32")
    np.savez(folder / "pixels.npz", w0=weights, b0=np.zeros(2, "float32"), **about)  # type: ignore[arg-type]
    return file


def agent_of(file: Path, broker: MemoryBroker) -> Agent:
    down = [channels.downlink("default", "device-1")]
    return Agent(
        load(file), file, make_bus=lambda will: MemoryBus(broker, client_id="device-1", subscriptions=down, will=will)
    )


@pytest.mark.parametrize("how", ["float16", "gzip", "float16+gzip"])
async def test_a_sample_is_sent_as_the_job_says(tmp_path: Path, broker, hub, how: str) -> None:
    async with hub, agent_of(write_agent(tmp_path, jobs=f'{JOB}encoding = "{how}"\n'), broker) as agent:
        assert (await (await agent.infer(HARD)).final(timeout=5.0)).origin == "cloud"
    (sample,) = hub.samples
    assert (sample.x.encoding, sample.x.dtype) == (how, "float32")
    assert unpack(sample.x) == HARD.astype("float16" if "float16" in how else "float32")


async def test_a_quality_is_that_of_the_pictures(tmp_path: Path, broker, hub) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype("uint8")
    sizes = []
    async with hub:
        for quality in (20, 90):
            jobs = PIXELS + f'encoding = {{use = "webp", quality = {quality}}}\n'
            async with agent_of(with_pixels(tmp_path, jobs, (64, 64)), broker) as agent:
                await (await agent.infer(noise)).final(timeout=5.0)
            sizes.append(len(hub.samples[-1].x.data))
    assert sizes[0] < sizes[1] * 0.7


@pytest.mark.parametrize("left", ["", "gzip"])
async def test_what_half_precision_cannot_hold_travels_whole(tmp_path: Path, broker, hub, caplog, left: str) -> None:
    how = f"float16+{left}" if left else "float16"
    async with hub, agent_of(write_agent(tmp_path, jobs=f'{JOB}{ALL}encoding = "{how}"\n'), broker) as agent:
        for _ in range(3):
            await (await agent.infer(number(1e6))).final(timeout=5.0)
    assert [(sample.x.encoding, unpack(sample.x)[0]) for sample in hub.samples] == [(left, 1e6)] * 3
    assert caplog.text.count("job side: a sample travels in full precision: 'float16': it holds a number") == 1


@pytest.fixture
def at_most_600_kb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.encoding.MAX_SAMPLE_BYTES", 600_000)


@pytest.mark.usefixtures("at_most_600_kb")
@pytest.mark.parametrize("order", ["inference-then-mining", "mining-then-inference"])
async def test_what_is_too_large_in_the_end_stays_and_the_edge_answer_is_final(
    tmp_path: Path, broker, hub, caplog, order: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (800, 800)).astype("uint8")
    jobs = PIXELS + f'encoding = "gzip"\norder = "{order}"\n'
    async with hub, agent_of(with_pixels(tmp_path, jobs, noise.shape), broker) as agent:
        for _ in range(2):
            answer = await agent.infer(noise)
            assert (answer.provisional, answer.reason, answer.prediction.origin) == (False, "too_large", "edge")
            assert answer.value is not None
        small = await (await agent.infer(np.zeros_like(noise), sample_id="small")).final(timeout=5.0)
        counters = agent.counters()
        assert (small.origin, counters.all, counters.hard, counters.unsent) == ("cloud", 3, 1, 0)
        assert counters.reasons["too_large"] == 2
    assert [sample.sample_id for sample in hub.samples] == ["small"]
    assert caplog.text.count("at most 600000 can be sent: it stays here") == 1


async def test_a_slow_encoding_runs_beside_the_event_loop_and_a_quick_one_in_it(
    tmp_path: Path, broker, hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def noted(*args, **options):
        ran.append(threading.current_thread().name)
        return pack(*args, **options)

    monkeypatch.setattr("edge_agent.encoding.pack", noted)
    for slow_s in (0.0, 60.0):
        monkeypatch.setattr("edge_agent.encoding.INLINE_S", slow_s)
        async with agent_of(write_agent(tmp_path, jobs=f'{JOB}encoding = "gzip"\n'), broker) as agent:
            ran.clear()
            await agent.infer(HARD)
            await agent.infer(HARD)
        assert [name.startswith("engine side") for name in ran] == [True, slow_s == 0.0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('encoding = "jpg"', "jobs.side.encoding: expected one of '', 'float16', 'gzip', 'float16+gzip', 'jpeg'"),
        ("encoding = 3", "jobs.side.encoding: expected"),
        ('encoding = {use = "jpg"}', "jobs.side.encoding.use: expected one of '', 'float16'"),
        ('encoding = {use = "jpeg", quality = 0}', "jobs.side.encoding.quality: expected int >= 1"),
        ('encoding = {use = "png", quality = 9}', "jobs.side.encoding: quality 9: only jpeg and webp have one"),
        ('encoding = {use = "jpeg", qality = 9}', "jobs.side.encoding.qality: unknown key; the nearest is 'quality'"),
        ('encoding = "jpeg"', "jobs.side.encoding = 'jpeg': only uint8 [h, w], [h, w, 1] and [h, w, 3] are pictures"),
    ],
)
def test_a_mistake_names_the_field(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent.from_config(write_agent(tmp_path, jobs=JOB + line + "\n"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_pillow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    file = with_pixels(tmp_path, PIXELS + 'encoding = "webp"\n', (8, 8))
    with pytest.raises(ConfigError, match=r"jobs.side.encoding = 'webp': needs Pillow: pip install 'skerry\[images\]'"):
        Agent.from_config(file)


@pytest.mark.usefixtures("at_most_600_kb")
def test_half_of_what_is_too_large_may_travel(tmp_path: Path) -> None:
    file = write_agent(tmp_path, jobs=f"{JOB}{ALL}")
    np.savez(tmp_path / "small.npz", w0=np.zeros((200_000, 2), "float32"), b0=np.zeros(2, "float32"))
    with pytest.raises(ConfigError, match=r"has 800000 bytes, at most 600000 can be sent; name an encoding"):
        Agent.from_config(file)
    file.write_text(file.read_text() + 'encoding = "float16"\n')
    Agent.from_config(file)
