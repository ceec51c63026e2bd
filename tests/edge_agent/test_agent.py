"""An agent answers at once whatever happens to the hub, and everything hard gets there in the end."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent import Agent
from edge_agent.config import load
from edge_agent.core.exchange import Post
from edge_agent.jobs import SampleError
from messages import channels
from messages.bus.memory import MemoryBroker, MemoryBus
from messages.codec import Format
from messages.delivery.sender import LEAST
from messages.host.folder import FolderError
from messages.shapes import Classes, Prediction
from tests.support.scripted_hub import ScriptedHub
from tests.support.small_agent import EASY, HARD, JOB, number, write_agent


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent")


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def hub(broker: MemoryBroker) -> ScriptedHub:
    return ScriptedHub(MemoryBus(broker, client_id="hub", subscriptions=[channels.uplink("default")], will=None))


def agent_of(file: Path, broker: MemoryBroker) -> Agent:
    settings = load(file)
    down = [channels.downlink(settings.namespace, settings.node)]
    return Agent(
        settings, file,
        make_bus=lambda will: MemoryBus(broker, client_id=settings.node, subscriptions=down, will=will),
    )  # fmt: skip


async def eventually(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(10.0):
        while not happened():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.01)


def looked(agent: Agent) -> bool:
    """Have the log told now what it is told every few seconds."""
    agent.link.look()
    return True


async def test_an_easy_sample_is_answered_and_stays_on_the_device(tmp_path: Path, broker, hub) -> None:
    async with hub, agent_of(write_agent(tmp_path), broker) as agent:
        answer = await agent.infer(EASY)
        assert (answer.provisional, answer.reason) == (False, "easy")
        assert isinstance(answer.value, Classes)
        assert answer.value.probs[1] > 0.9
        assert await answer.final() is answer.prediction
        await agent.infer(HARD, sample_id="after")
        await hub.until(lambda h: h.samples)
        assert [sample.sample_id for sample in hub.samples] == ["after"]


async def test_a_hard_sample_is_answered_twice_first_by_the_edge_then_by_the_hub(tmp_path: Path, broker, hub) -> None:
    async with hub, agent_of(write_agent(tmp_path), broker) as agent:
        answer = await agent.infer(HARD)
        assert (answer.provisional, answer.reason) == (True, "entropy")
        final = await answer.final(timeout=5.0)
        assert (final.origin, final.provisional, final.sample_id) == ("cloud", False, answer.sample_id)
        assert final.value == Classes(probs=(0.0, 1.0))
        assert (await answer.final()) is final
        (sample,) = hub.samples
        assert (sample.reason, sample.edge, sample.x.shape) == ("entropy", answer.value, (1,))
        assert sample.model == hub.statuses[-1].releases["side"]


async def test_with_the_hub_away_an_answer_never_waits_and_nothing_is_lost(tmp_path: Path, broker, hub) -> None:
    broker.stop()
    async with agent_of(write_agent(tmp_path), broker) as agent:
        async with asyncio.timeout(2.0):
            answers = [await agent.infer(HARD) for _ in range(200)]
        assert all(answer.provisional for answer in answers)
        with pytest.raises(TimeoutError):
            await answers[0].final(timeout=0.01)
        broker.start()
        async with hub:
            finals = await asyncio.gather(*(answer.final(timeout=10.0) for answer in answers))
    assert [final.sample_id for final in finals] == [answer.sample_id for answer in answers]
    assert {sample.sample_id for sample in hub.samples} == {answer.sample_id for answer in answers}


async def test_what_was_not_receipted_is_sent_after_a_restart(tmp_path: Path, broker, hub) -> None:
    file = write_agent(tmp_path)
    hub.receipts = hub.answers = False
    async with hub:
        async with agent_of(file, broker) as agent:
            first = [(await agent.infer(HARD)).sample_id for _ in range(LEAST)]
            await hub.until(lambda h: len(h.samples) >= LEAST)
        broker.stop()
        async with agent_of(file, broker) as agent:
            second = [(await agent.infer(HARD)).sample_id for _ in range(5)]
        sent_before = {sample.sample_id: sample.event_id for sample in hub.samples}
        hub.samples.clear()
        hub.receipts = True
        broker.start()
        async with agent_of(file, broker) as agent:
            await hub.until(lambda h: len({s.sample_id for s in h.samples}) == LEAST + 5)
            await eventually(lambda: agent.backlog == 0)
    assert set(sent_before) == set(first)
    ids = {sample.sample_id: sample.event_id for sample in hub.samples}
    assert set(ids) == {*first, *second}
    assert {name: ids[name] for name in first} == sent_before


async def test_a_lost_receipt_only_means_that_it_is_sent_again(tmp_path: Path, broker, hub) -> None:
    hub.receipts = hub.answers = False
    async with hub, agent_of(write_agent(tmp_path), broker) as agent:
        await agent.infer(HARD)
        await hub.until(lambda h: len(h.samples) >= 3)
        hub.receipts = True
        await eventually(lambda: agent.backlog == 0)
    assert len({sample.event_id for sample in hub.samples}) == 1


async def test_an_answer_says_what_its_lost_receipt_would_have_said(tmp_path: Path, broker, hub) -> None:
    hub.receipts = False
    async with hub, agent_of(write_agent(tmp_path), broker) as agent:
        answer = await agent.infer(HARD)
        assert (await answer.final(timeout=5.0)).origin == "cloud"
        await eventually(lambda: agent.backlog == 0)


async def test_counters_are_exact(tmp_path: Path, broker, hub) -> None:
    async with hub, agent_of(write_agent(tmp_path, more="beat_s = 0.2"), broker) as agent:
        for x in (EASY, EASY, HARD, EASY):
            await agent.infer(x)
        counters = agent.counters()
        assert (counters.all, counters.hard, counters.reasons) == (4, 1, {"easy": 3, "entropy": 1})
        await eventually(lambda: agent.counters().answered == 1)
        await hub.until(lambda h: any(r.counters.get("answered") == 1.0 for r in h.reports))
    report = hub.reports[-1]
    assert (report.job, report.counters["hard"] / report.counters["all"]) == ("side", 0.25)


async def test_birth_beats_and_death_belong_to_one_session_and_the_next_is_higher(tmp_path: Path, broker, hub) -> None:
    file = write_agent(tmp_path, more="beat_s = 0.1")
    async with hub:
        async with agent_of(file, broker):
            await hub.until(lambda h: len(h.statuses) >= 3)
        await hub.until(lambda h: h.statuses[-1].state == "offline")
        first = list(hub.statuses)
        hub.statuses.clear()
        async with agent_of(file, broker):
            await hub.until(lambda h: h.statuses)
    assert {status.session for status in first} == {first[0].session}
    assert [status.state for status in first] == ["online"] * (len(first) - 1) + ["offline"]
    assert hub.statuses[0].session > first[0].session


async def test_a_cut_link_gives_a_new_session_and_the_will_was_of_the_old_one(tmp_path: Path, broker, hub) -> None:
    async with hub, agent_of(write_agent(tmp_path), broker):
        await hub.until(lambda h: h.statuses)
        broker.drop("device-1")
        await hub.until(lambda h: len(h.statuses) >= 3)
    born, died, again = hub.statuses[:3]
    assert (born.state, died.state, again.state) == ("online", "offline", "online")
    assert born.session == died.session < again.session
    assert again.link.connects == 2


async def test_a_sink_sees_the_edges_and_the_final_prediction(tmp_path: Path, broker, hub, monkeypatch) -> None:
    (tmp_path / "my_sink.py").write_text("seen = []\ndef take(prediction): seen.append(prediction)\n")
    monkeypatch.syspath_prepend(tmp_path)
    my_sink = import_module("my_sink")

    async with hub, agent_of(write_agent(tmp_path, jobs=JOB + 'sink = "my_sink:take"\n'), broker) as agent:
        await agent.infer(HARD, sample_id="a")
        await eventually(lambda: len(my_sink.seen) == 2)
    seen: list[Prediction] = my_sink.seen
    assert [(p.sample_id, p.origin, p.provisional) for p in seen] == [("a", "edge", True), ("a", "cloud", False)]


async def test_an_answer_that_the_sink_did_not_take_is_not_receipted(
    tmp_path: Path, broker, hub, monkeypatch, caplog
) -> None:
    (tmp_path / "my_shy_sink.py").write_text(
        "fail = True\nseen, refused = [], []\n"
        "def take(prediction):\n"
        "    if fail:\n"
        "        refused.append(prediction.origin)\n"
        "        raise OSError('no room')\n"
        "    seen.append(prediction.origin)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    my_shy_sink = import_module("my_shy_sink")

    async with hub, agent_of(write_agent(tmp_path, jobs=JOB + 'sink = "my_shy_sink:take"\n'), broker) as agent:
        answer = await agent.infer(HARD)
        assert "sink my_shy_sink:take: OSError: no room" in caplog.text
        await hub.until(lambda h: h.samples)
        await eventually(lambda: my_shy_sink.refused == ["edge", "cloud"])
        assert hub.receipted == []
        monkeypatch.setattr(my_shy_sink, "fail", False)
        hub.answer("device-1", hub.samples[0])
        await answer.final(timeout=5.0)
        await hub.until(lambda h: h.receipted)
    assert my_shy_sink.seen == ["cloud"]
    assert hub.receipted == ["scripted.0"]


async def test_a_full_disk_is_said_and_counted_and_the_edge_answers_on(tmp_path: Path, broker, hub, caplog) -> None:
    async with hub, agent_of(write_agent(tmp_path, more="beat_s = 0.1"), broker) as agent:
        await hub.until(lambda h: h.statuses)
        agent.store.connection.execute("PRAGMA max_page_count = 1")
        broker.stop()
        broker.drop("device-1")
        answers = [await agent.infer(HARD) for _ in range(500)]
        lost = sum(not answer.provisional for answer in answers)
        assert 0 < lost < 500
        assert all(isinstance(answer.value, Classes) for answer in answers)
        assert (agent.counters().all, agent.counters().unsent, agent.counters().hard) == (500, lost, 500 - lost)
        agent.link.look()
        assert f"disk full: {lost} hard samples could not be kept" in caplog.text
        agent.store.connection.execute("PRAGMA max_page_count = 1000000")
        broker.start()
        await agent.infer(HARD)
        await hub.until(lambda h: len(h.samples) == 501 - lost)
        agent.link.look()
        assert "there is room again" in caplog.text


async def test_a_full_disk_does_not_keep_the_processor_busy(tmp_path: Path, broker, hub, monkeypatch) -> None:
    hub.receipts = hub.answers = False
    async with hub, agent_of(write_agent(tmp_path), broker) as agent:
        await agent.infer(HARD)
        await hub.until(lambda h: h.samples)
        agent.store.connection.execute("PRAGMA query_only = on")
        assert not (await agent.infer(HARD)).provisional
        tries: list[float] = []
        post = agent.link._post

        def counted(posts: Sequence[Post]) -> None:
            tries.append(time.monotonic())
            post(posts)

        monkeypatch.setattr(agent.link, "_post", counted)
        await eventually(lambda: len(tries) > 10)
        assert tries[10] - tries[0] > 0.4


async def test_refused_samples_and_bad_bytes_are_named_in_the_log(tmp_path: Path, broker, hub, caplog) -> None:
    hub.refuse = "x.shape is (1,), job side takes (8, 8)"
    async with hub, agent_of(write_agent(tmp_path), broker) as agent:
        await hub.until(lambda h: h.statuses)
        hub.send("device-1", channels.DOWN_ANSWER, b"\xc1junk")
        await agent.infer(HARD)
        await eventually(lambda: agent.backlog == 0)
        agent.link.look()
    assert "job side: 1 on up/sample refused for good, now a dead letter: x.shape is (1,)" in caplog.text
    assert "unusable on 'down/answer', in quarantine: first byte 0xc1" in caplog.text


async def test_a_retained_answer_of_last_year_is_quarantined(tmp_path: Path, broker, hub, caplog) -> None:
    async with hub:
        hub.answers = False
        async with agent_of(write_agent(tmp_path), broker) as agent:
            await hub.until(lambda h: h.statuses)
            await agent.infer(HARD, sample_id="a")
            await hub.until(lambda h: h.samples)
            hub.send("device-1", channels.DOWN_ANSWER, b"\x80", retain=True)
        async with agent_of(write_agent(tmp_path), broker) as agent:
            await eventually(lambda: looked(agent) and "'down/answer', in quarantine: a retained" in caplog.text)


async def test_a_silent_hub_is_said_once(tmp_path: Path, broker, hub, caplog) -> None:
    hub.receipts = hub.answers = False
    async with hub, agent_of(write_agent(tmp_path), broker) as agent:
        await hub.until(lambda h: h.statuses)
        await agent.infer(HARD)
        for _ in range(3):
            await eventually(lambda: looked(agent) and "no receipt for" in caplog.text)
        hub.receipts = True
        await eventually(lambda: agent.backlog == 0)
        agent.link.look()
    assert caplog.text.count("no receipt for") == 1
    assert caplog.text.count("the hub answers again") == 1


async def test_a_second_agent_in_the_same_folder_is_refused(tmp_path: Path, broker) -> None:
    file = write_agent(tmp_path)
    async with agent_of(file, broker):
        with pytest.raises(FolderError, match=r"data_dir .*/data: another agent is using it"):
            async with agent_of(file, broker):
                pass
    async with agent_of(file, broker):
        pass


@pytest.mark.parametrize(
    ("x", "got"),
    [
        (np.zeros((2, 2), "float32"), "float32[2, 2]"),
        (np.zeros(1, "int32"), "int32[1]"),
        ([1.0], "list"),
        (np.float32(1.0), "float32[]"),
    ],
)
async def test_a_sample_of_another_shape_or_dtype_is_named(tmp_path: Path, broker, x, got: str) -> None:
    async with agent_of(write_agent(tmp_path), broker) as agent:
        with pytest.raises(SampleError) as caught:
            await agent.infer(x)
    assert str(caught.value) == f"job side: takes float32[1], got {got}"


@pytest.mark.parametrize("sample_id", ["n" * 201, "half a character \ud800"])
async def test_an_id_that_cannot_travel_is_named(tmp_path: Path, broker, sample_id: str) -> None:
    async with agent_of(write_agent(tmp_path), broker) as agent:
        with pytest.raises(SampleError, match="use 1 to 200 characters that are text"):
            await agent.infer(HARD, sample_id=sample_id)
        assert agent.backlog == 0
        assert agent.counters().all == 0


async def test_nan_is_sent_on_as_what_it_is_or_as_no_result_where_json_has_no_word_for_it(
    tmp_path: Path, broker, hub
) -> None:
    async with hub:
        for form in (Format.MSGPACK, Format.JSON):
            more = f'payload = "{form}"'
            async with agent_of(write_agent(tmp_path / form, more=more), broker) as agent:
                answer = await agent.infer(number(np.nan))
                assert (answer.reason, answer.provisional) == ("invalid", True)
                with pytest.raises(TimeoutError):
                    await answer.final(timeout=0.0)
                await hub.until(lambda h, form=form: len(h.samples) == 1 + (form is Format.JSON))
    assert isinstance(hub.samples[0].edge, Classes)
    assert np.isnan(hub.samples[0].edge.probs).all()
    assert hub.samples[1].edge == Classes(probs=())


async def test_a_slow_engine_does_not_hold_up_the_loop(tmp_path: Path, broker, monkeypatch) -> None:
    (tmp_path / "my_slow_engine.py").write_text(
        "import time\nimport numpy as np\nfrom edge_agent.engines.protocol import TensorSpec\n"
        "class Slow:\n"
        "    input = TensorSpec('float32', (1,))\n"
        "    digest = '00' * 32\n"
        "    def predict(self, x):\n"
        "        time.sleep(0.2)\n"
        "        return np.array([1.0, 0.0])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = write_agent(tmp_path, jobs='[jobs.slow]\nengine = "my_slow_engine:Slow"\n')
    async with agent_of(file, broker) as agent:
        await agent.infer(EASY)
        turns = 0
        inference = asyncio.create_task(agent.infer(EASY))
        while not inference.done():
            await asyncio.sleep(0.005)
            turns += 1
    assert turns > 10


async def test_sources_run_side_by_side_and_one_that_fails_is_opened_again(
    tmp_path: Path, broker, hub, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("edge_agent.sources.drive.FIRST_S", 0.05)
    (tmp_path / "my_source.py").write_text(
        "import numpy as np\nopened = 0\n"
        "def good(count):\n"
        "    for n in range(count): yield f'good-{n}', np.array([0.05], 'float32')\n"
        "def bad():\n"
        "    global opened\n"
        "    opened += 1\n"
        "    yield f'bad-{opened}', np.array([0.05], 'float32')\n"
        "    raise OSError('camera unplugged')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    jobs = (
        '[jobs.good]\nmodel = "small.npz"\nkeep = "every"\nsource = {use = "my_source:good", count = 300}\n'
        '[jobs.bad]\nmodel = "small.npz"\nkeep = "every"\nsource = "my_source:bad"\n'
    )
    wanted = {f"good-{n}" for n in range(300)} | {"bad-1", "bad-2", "bad-3"}
    async with hub, agent_of(write_agent(tmp_path, jobs=jobs), broker) as agent:
        running = asyncio.create_task(agent.run())
        await hub.until(lambda h: wanted <= {sample.sample_id for sample in h.samples})
        await eventually(lambda: agent.counters("good").source_stops == 1)
        await eventually(lambda: agent.counters("bad").source_stops >= 3)
        agent.stop()
        await running
    assert "job good: source my_source:good has ended" in caplog.text
    assert caplog.text.count("job bad: source my_source:bad stopped: my_source:bad: OSError: camera unplugged") == 1


async def test_bad_readings_are_named_once_and_counted_and_the_rest_goes_on(
    tmp_path: Path, broker, hub, monkeypatch, caplog
) -> None:
    (tmp_path / "my_mixed_source.py").write_text(
        "import numpy as np\n"
        "from edge_agent.sources.feed import Bad\n"
        "def mixed():\n"
        "    for n in range(20):\n"
        "        yield f'wide-{n}', np.zeros((640, 480), 'uint8')\n"
        "        yield Bad(f'line {n}', 'no number')\n"
        "        yield f'good-{n}', np.array([0.05], 'float32')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    jobs = JOB + 'source = "my_mixed_source:mixed"\nkeep = "every"\n'
    async with hub, agent_of(write_agent(tmp_path, jobs=jobs, more="beat_s = 0.2"), broker) as agent:
        running = asyncio.create_task(agent.run())
        await hub.until(lambda h: {f"good-{n}" for n in range(20)} == {sample.sample_id for sample in h.samples})
        await hub.until(lambda h: any(report.counters["bad_readings"] == 40.0 for report in h.reports))
        agent.stop()
        await running
    who = "job side: source my_mixed_source:mixed"
    assert f"{who}: bad reading: wide-0: job side: takes float32[1], got uint8[640, 480]" in caplog.text
    assert caplog.text.count("bad reading") == 1


async def test_a_source_that_blocks_is_named_once_and_when_it_is_back(
    tmp_path: Path, broker, hub, monkeypatch, caplog
) -> None:
    (tmp_path / "my_stuck_source.py").write_text(
        "import threading\nimport numpy as np\n"
        "free = threading.Event()\n"
        "def stuck():\n"
        "    free.wait(30.0)\n"
        "    yield 'late', np.array([0.05], 'float32')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    my_stuck_source = import_module("my_stuck_source")

    jobs = JOB + 'source = "my_stuck_source:stuck"\nsilence_s = 0.05\n'
    async with hub, agent_of(write_agent(tmp_path, jobs=jobs), broker) as agent:
        running = asyncio.create_task(agent.run())
        await eventually(lambda: agent.counters().source_stops)
        await agent.infer(HARD, sample_id="meanwhile")
        my_stuck_source.free.set()
        await hub.until(lambda h: {"late", "meanwhile"} == {sample.sample_id for sample in h.samples})
        agent.stop()
        await running
    assert caplog.text.count("source my_stuck_source:stuck gave nothing for 0.05 s; waiting on") == 1
    assert "source my_stuck_source:stuck gives readings again" in caplog.text


async def test_an_error_in_the_script_comes_out_as_it_is(tmp_path: Path, broker) -> None:
    with pytest.raises(ZeroDivisionError):
        async with agent_of(write_agent(tmp_path), broker) as agent:
            await agent.infer(number(1 / 0))


async def test_infer_without_a_job_needs_exactly_one(tmp_path: Path, broker) -> None:
    jobs = JOB + '[jobs.other]\nmodel = "small.npz"\n'
    async with agent_of(write_agent(tmp_path, jobs=jobs), broker) as agent:
        with pytest.raises(KeyError, match="this agent has side, other"):
            await agent.infer(EASY)
        assert not (await agent.infer(EASY, job="other")).provisional


OFFLOAD = JOB + 'policy = {use = "offload", budget = 0.5, audit = 0.0}\n'


async def test_the_offload_policy_keeps_to_its_budget_and_reports_it(tmp_path: Path, broker, hub) -> None:
    file = write_agent(tmp_path, jobs=OFFLOAD, more="beat_s = 0.1")
    async with hub, agent_of(file, broker) as agent:
        answers = [await agent.infer(number(x)) for _ in range(50) for x in (0.05, 2.0)]
        assert {answer.reason for answer in answers} == {"easy", "hard"}
        hard = sum(answer.provisional for answer in answers)
        assert 40 <= hard <= 50
        await hub.until(lambda h: h.reports and h.reports[-1].counters["hard"] == hard)
    report = hub.reports[-1]
    assert report.gauges == {"budget": 0.5}
    assert report.counters["bytes_sent"] == 4 * hard
    assert (report.counters["low_trust"], report.counters["audits"], report.alarms) == (0, 0, ())


def metered(budget: str) -> str:
    return JOB + f'policy = {{use = "offload", audit = 0.0, {budget}}}\n'


async def test_a_link_without_bytes_left_makes_the_edges_answers_final(tmp_path: Path, broker, hub) -> None:
    async with hub, agent_of(write_agent(tmp_path, jobs=metered("bytes = 1000, per_s = 1e6")), broker) as agent:
        answers = [await agent.infer(number(x)) for _ in range(20) for x in (0.05, 2.0)]
        assert not any(answer.provisional for answer in answers)
        assert (await agent.infer(number(float("nan")))).reason == "over budget"
        assert agent.link.exchanged > 0


async def test_bytes_that_came_in_meanwhile_let_samples_go(tmp_path: Path, broker, hub) -> None:
    async with hub, agent_of(write_agent(tmp_path, jobs=metered("bytes = 1_000_000, per_s = 1.0")), broker) as agent:
        await eventually(lambda: agent.link.connected)
        before = agent.link.exchanged

        async def sent() -> bool:
            return any([(await agent.infer(number(x))).provisional for x in (0.05, 2.0)])

        async with asyncio.timeout(10.0):
            while not await sent():  # noqa: ASYNC110  # the bytes come with the time
                await asyncio.sleep(0.01)
        await hub.until(lambda h: h.samples)
        assert agent.link.exchanged - before > len(hub.samples[0].x.data)


async def test_what_is_hard_while_the_link_is_down_may_be_skipped(tmp_path: Path, broker) -> None:
    broker.stop()
    async with agent_of(write_agent(tmp_path, jobs=metered('budget = 0.5, offline = "skip"')), broker) as agent:
        answers = [await agent.infer(number(x)) for _ in range(20) for x in (0.05, 2.0)]
        assert {answer.reason for answer in answers} == {"easy", "link down"}
        assert agent.backlog == 0


async def test_a_sample_that_cannot_be_judged_is_doubted_where_it_cannot_be_sent(tmp_path: Path, broker, hub) -> None:
    async with hub, agent_of(write_agent(tmp_path, jobs=metered("budget = 0.0")), broker) as agent:
        answer = await agent.infer(number(float("nan")))
        assert (answer.reason, answer.provisional, answer.prediction.low_trust) == ("over budget", False, True)
        assert agent.counters().low_trust == 1


async def test_a_promise_without_a_calibration_is_said_in_the_log(tmp_path: Path, broker, hub, caplog) -> None:
    async with hub, agent_of(write_agent(tmp_path, jobs=metered("quality = 0.9")), broker) as agent:
        assert (await agent.infer(EASY)).reason == "hard"
    lines = [line for line in caplog.messages if "a calibration with labels is missing" in line]
    assert lines == ["job side: quality = 0.9: a calibration with labels is missing; all samples are sent till then"]
