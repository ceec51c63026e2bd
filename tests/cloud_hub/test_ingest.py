"""What a node's messages do at the hub: stored once, then receipted; answers go back until the node has them."""

import pytest
from msgspec import structs

from cloud_hub.ingest.exchange import Arrival, Output
from cloud_hub.ingest.inference import JobSpec
from cloud_hub.store.protocol import Verdict
from messages.codec import decode, encode
from messages.delivery.rows import Outcome
from messages.delivery.sender import Pace
from messages.delivery.store import StoreFull
from messages.shapes import Answer, Receipt, Report
from tests.support.nodes import AT, CLOUD, JOBS, Hub, sample, status, tensor, topic

ROOMY = JOBS["digits"]


def answers(out: Output) -> list[Answer]:
    return [decode(Answer, post.payload) for post in out.posts if post.path == "down/answer"]


def received(*given: Answer) -> Receipt:
    return Receipt(event_id="r.1", timestamp=AT, done=tuple(answer.event_id for answer in given), credit=9)


def run_models(hub: Hub, out: Output) -> Output:
    """Let the workers answer all that they were given."""
    (predict,) = out.predictions
    verdicts = [Verdict(waiting.row, CLOUD) for waiting in predict.samples]
    return hub.core.answered(predict.job, predict.worker, verdicts, hub.now, AT)


def test_a_sample_is_stored_then_receipted() -> None:
    hub = Hub()
    receipt = hub.take(sample(1))
    assert (receipt.done, receipt.refused, receipt.later) == (("s.1",), (), ())
    assert hub.store.content("cam-1", "digits", "sample-1") == bytes([0, 1, 2, 3])
    assert hub.books() == {"stored": 1}


def test_a_resent_sample_is_receipted_again_and_stored_once() -> None:
    hub = Hub()
    assert {hub.take(sample(1)).done for _ in range(3)} == {("s.1",)}
    assert hub.take(sample(1, low=1)).done == ("s.1",)
    assert (hub.books(), hub.store.sample_totals("digits").rows) == ({"stored": 1}, 1)


def test_an_id_that_its_sender_gave_up_is_stored_if_it_never_was() -> None:
    """A restored device sends a row that it had parked in the life which its backup does not know."""
    hub = Hub()
    hub.take(sample(5, low=5))
    assert hub.take(sample(3)).done == ("s.3",)
    assert hub.store.content("cam-1", "digits", "sample-3") is not None
    assert hub.take(sample(3)).done == ("s.3",)
    assert (hub.books(), hub.store.sample_totals("digits").rows) == ({"stored": 2}, 2)


def test_one_receipt_for_a_batch_and_one_for_each_node() -> None:
    hub = Hub()
    batch = [Arrival(topic("up/sample", node), encode(sample(i))) for node in ("cam-1", "cam-2") for i in range(300)]
    out = hub.core.receive(batch, 0.0, AT)
    receipts = [(post.node, decode(Receipt, post.payload)) for post in out.posts]
    assert [(node, len(receipt.done)) for node, receipt in receipts] == [
        *(("cam-1", 256), ("cam-1", 44)),
        *(("cam-2", 256), ("cam-2", 44)),
    ]
    assert len({receipt.event_id for _, receipt in receipts}) == 4


def test_a_known_sample_under_a_new_id_is_known_and_answered_again() -> None:
    """A node that was restored from a backup has lost its ids, and maybe the answer."""
    hub = Hub()
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    hub.receive(encode(status()), topic("up/status"))
    first = answers(run_models(hub, hub.receive(encode(sample(1)))))
    hub.receive(encode(received(first[0])), topic("up/receipt"))
    out = hub.receive(encode(sample(1, event_id="other.0")))
    assert hub.receipt(out).done == ("other.0",)
    assert [(again.sample_id, again.value) for again in answers(out)] == [("sample-1", CLOUD)]
    assert hub.number(Outcome.KNOWN) == 1
    assert hub.store.sample_totals("digits").rows == 1


def test_a_report_replaces_the_older_one() -> None:
    hub = Hub()
    for seq, (session, at) in enumerate([(2, 10), (2, 20), (1, 99), (2, 15)]):
        report = Report(event_id=f"s.{seq}", timestamp=at, job="digits", session=session, counters={"all": float(at)})
        assert hub.take(report, path="up/report").done == (f"s.{seq}",)
    ((node, kept),) = hub.store.reports()
    assert (node, kept.session, kept.counters) == ("cam-1", 2, {"all": 20.0})


def test_answers_wait_until_their_node_is_there_and_go_until_they_are_receipted() -> None:
    hub = Hub(pace=Pace(first_s=2.0))
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    assert answers(run_models(hub, hub.receive(encode(sample(1))))) == []
    (answer,) = answers(hub.receive(encode(status()), topic("up/status")))
    assert (answer.event_id, answer.sample_id, answer.value, answer.model) == ("h.0", "sample-1", CLOUD, "model-1")
    wake = hub.core.wake_at()
    assert wake is not None
    assert [again.event_id for again in answers(hub.core.tick(wake, AT))] == ["h.0"]
    hub.receive(encode(received(answer)), topic("up/receipt"))
    assert (answers(hub.core.tick(1e6, AT)), hub.number(Outcome.DONE)) == ([], 1)


def test_the_credit_is_shared_by_the_nodes_that_are_there() -> None:
    hub = Hub(credit=100, budget=120)
    greeting = hub.receipt(hub.receive(encode(status()), topic("up/status")))
    assert (greeting.credit, greeting.done) == (100, ())
    hub.receive(encode(status()), topic("up/status", "cam-2"))
    assert hub.take(sample()).credit == 60
    for i in range(3, 60):
        hub.receive(encode(status()), topic("up/status", f"cam-{i}"))
    assert hub.take(sample(1)).credit == 4


def test_a_beat_is_not_greeted_and_an_old_session_changes_nothing() -> None:
    hub = Hub()
    hub.receive(encode(status(session=5)), topic("up/status"))
    assert hub.receive(encode(status(session=5)), topic("up/status")).posts == []
    for state in ("online", "offline"):
        assert hub.receive(encode(status(state, session=4)), topic("up/status"), retained=True).posts == []
    record = hub.store.node("cam-1")
    assert record is not None
    assert (record.online, record.status.session) == (True, 5)


def test_a_node_that_dies_or_falls_silent_is_offline_and_gets_nothing() -> None:
    hub = Hub()
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    hub.receive(encode(status(beat_s=10.0)), topic("up/status"))
    out = hub.core.tick(31.0, AT)
    assert out.notes == ["node cam-1: offline, no heartbeat"]
    record = hub.store.node("cam-1")
    assert record is not None
    assert not record.online
    assert answers(run_models(hub, hub.receive(encode(sample(1))))) == []
    (answer,) = answers(hub.receive(encode(status(beat_s=10.0)), topic("up/status")))
    assert answer.sample_id == "sample-1"
    assert hub.receive(encode(status("offline")), topic("up/status")).notes == ["node cam-1: offline"]


def test_a_restarted_hub_knows_its_nodes_and_goes_on() -> None:
    hub = Hub()
    hub.receive(encode(status(session=5)), topic("up/status"))
    hub.take(sample(1))
    after = Hub(hub.store, stream="h2")
    assert after.take(sample(1)).done == ("s.1",)
    assert after.store.sample_totals("digits").rows == 1
    assert after.receive(encode(status("offline", session=4)), topic("up/status")).notes == []
    out = after.core.ready("digits", "w", "model-1", 1.0, AT)
    assert [waiting.sample_id for waiting in out.predictions[0].samples] == ["sample-1"]
    run_models(after, out)
    (answer,) = answers(after.receive(encode(status(session=5)), topic("up/status")))
    assert answer.event_id == "h2.0"


def test_an_answer_in_flight_keeps_its_id_over_a_restart() -> None:
    hub = Hub()
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    hub.receive(encode(status()), topic("up/status"))
    (answer,) = answers(run_models(hub, hub.receive(encode(sample(1)))))
    after = Hub(hub.store, stream="h2")
    (again,) = answers(after.receive(encode(status()), topic("up/status")))
    assert (answer.event_id, again) == ("h.0", answer)


def test_a_sample_that_kills_two_workers_is_answered_with_an_error() -> None:
    hub = Hub()
    hub.receive(encode(status()), topic("up/status"))
    hub.core.ready("digits", "a", "model-1", 0.0, AT)
    hub.receive(encode(sample(1)))
    hub.core.died("digits", "a", "signal 11", 0.0, AT)
    out = hub.core.ready("digits", "a", "model-1", 0.0, AT)
    assert len(out.predictions) == 1
    (answer,) = answers(hub.core.died("digits", "a", "signal 11", 0.0, AT))
    assert (answer.value, answer.error) == (None, "the model's process died on it: signal 11")
    assert hub.store.sample_totals("digits").waiting == 0


def test_a_model_that_cannot_answer_says_why() -> None:
    hub = Hub()
    hub.receive(encode(status()), topic("up/status"))
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    (predict,) = hub.receive(encode(sample(1))).predictions
    verdict = Verdict(predict.samples[0].row, None, "ValueError: too dark")
    (answer,) = answers(hub.core.answered("digits", "w", [verdict], 0.0, AT))
    assert (answer.value, answer.error) == (None, "ValueError: too dark")


def test_a_full_disk_asks_to_wait_and_stores_nothing_by_half() -> None:
    hub = Hub(retry_s=7.0)
    hub.store.full = True
    batch = [Arrival(topic("up/sample"), encode(sample(i))) for i in range(2)]
    batch += [Arrival("nonsense", b""), Arrival(topic("up/sample"), b"\x80")]
    batch += [Arrival(topic("up/status"), encode(status()))]
    batch += [Arrival(topic("up/sample"), encode(sample(3, event_id="x" * 1000)))]
    with pytest.raises(StoreFull):
        hub.core.receive(batch, 0.0, AT)
    receipt = hub.receipt(hub.core.refuse(batch, "disk full", AT))
    assert [(wait.event_id, wait.retry_s, wait.reason) for wait in receipt.later] == [
        *(("s.0", 7.0, "disk full"), ("s.1", 7.0, "disk full")),
    ]
    assert (receipt.done, hub.books(), hub.store.sample_totals("digits").rows) == ((), {}, 0)
    hub.store.full = False
    assert [hub.take(sample(i)).done for i in range(2)] == [("s.0",), ("s.1",)]
    assert hub.books() == {"stored": 2}


def test_answers_survive_a_disk_that_was_full_when_they_came() -> None:
    hub = Hub()
    hub.receive(encode(status()), topic("up/status"))
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    out = hub.receive(encode(sample(1)))
    hub.store.full = True
    with pytest.raises(StoreFull):
        run_models(hub, out)
    hub.store.full = False
    assert [answer.value for answer in answers(run_models(hub, out))] == [CLOUD]


def test_a_failed_tick_waits_a_second() -> None:
    hub = Hub(pace=Pace(first_s=2.0))
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    hub.receive(encode(status()), topic("up/status"))
    out = hub.receive(encode(sample(1)))
    run_models(hub, out)
    hub.store.full = True
    with pytest.raises(StoreFull):
        hub.receive(encode(sample(2)))
    assert hub.core.wake_at() == 1.0


def test_the_cap_on_samples_drops_answered_ones_and_defers_when_all_wait() -> None:
    hub = Hub(jobs={"digits": structs.replace(ROOMY, max_rows=2, retry_s=9.0)})
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    run_models(hub, hub.receive(encode(sample(1))))
    for seq in (2, 3):
        assert hub.take(sample(seq)).done == (f"s.{seq}",)
    (wait,) = hub.take(sample(4)).later
    assert (wait.event_id, wait.retry_s) == ("s.4", 9.0)
    assert wait.reason == "job digits: the hub holds as many unanswered samples as it may"
    assert hub.store.sample_totals("digits").rows == 2
    assert hub.store.content("cam-1", "digits", "sample-1") is None


def test_the_cap_on_bytes_counts_tensors() -> None:
    hub = Hub(jobs={"digits": JobSpec(max_bytes=8)})
    assert [hub.take(sample(seq)).done for seq in range(3)] == [("s.0",), ("s.1",), ()]


def test_while_the_hub_is_offline_nothing_is_sent() -> None:
    hub = Hub()
    hub.core.ready("digits", "w", "model-1", 0.0, AT)
    hub.receive(encode(status()), topic("up/status"))
    out = hub.receive(encode(sample(1)))
    hub.core.offline()
    assert answers(run_models(hub, out)) == []
    assert len(answers(hub.receive(encode(status(session=2)), topic("up/status")))) == 1


def test_two_nodes_may_use_the_same_names() -> None:
    hub = Hub()
    hub.take(sample(1, x=tensor(1, 1, 1, 1)))
    assert hub.take(sample(1, x=tensor(2, 2, 2, 2)), "cam-2").done == ("s.1",)
    assert hub.store.content("cam-1", "digits", "sample-1") == bytes([1] * 4)
    assert hub.store.content("cam-2", "digits", "sample-1") == bytes([2] * 4)
