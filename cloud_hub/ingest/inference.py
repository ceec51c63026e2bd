"""Runs the joint-inference machines over the store: samples in, batches for workers out, answers into the outbox."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec
from msgspec import Struct, structs

from cloud_hub.jobs import joint_inference as machine
from cloud_hub.store.protocol import Added, HubStore, Verdict, Waiting
from messages import channels
from messages.codec import BadPayload, Format, encode_body
from messages.delivery.bounds import Bounds
from messages.delivery.rows import Draft, Kind, Outcome
from messages.encodings import is_compressed
from messages.shapes import Answer, BlobRef, Deferral, HardSample, JobMessage, Refusal
from messages.tensors import check, unpack

Clock = tuple[float, int]
"""Run time in seconds and wall clock in ms, as one moment."""


class JobSpec(Struct, frozen=True, kw_only=True):
    """A job as the core needs it: how to batch, what a sample must look like, and how many may be kept (0: no bound).

    An empty `dtype` or no `shape` takes any.
    """

    batch: machine.Spec = machine.Spec()
    dtype: str = ""
    shape: tuple[int, ...] | None = None
    max_rows: int = 0
    max_bytes: int = 0
    retry_s: float = 10.0


class Predict(Struct, frozen=True):
    """Run the big model of a job on these samples, in this worker."""

    job: str
    worker: str
    samples: tuple[Waiting, ...]


class Shelf(Protocol):
    """The blobs that nodes were asked for."""

    def load(self, node: str, ref: BlobRef) -> bytes | None:
        """The content, which was verified; None while it is not there. Raises BadPayload when it never will be."""


class NoShelf:
    """No blob ever comes here."""

    def load(self, node: str, ref: BlobRef) -> bytes | None:
        """Nothing."""
        raise BadPayload(f"blob {ref.sha256[:12]} of {node}: this hub takes none")


class Needed(Struct, frozen=True):
    """A sample whose blob the hub has to fetch from its node first; then it is received again."""

    node: str
    sample: HardSample


class Inference:
    """All joint-inference jobs of a hub. Every method runs inside the caller's transaction."""

    def __init__(
        self, store: HubStore, bounds: Bounds, jobs: Mapping[str, JobSpec], *, form: Format, shelf: Shelf
    ) -> None:
        self._store = store
        self._bounds = bounds
        self._jobs = jobs
        self._form = form
        self._states: dict[str, machine.State] = {}
        self._held: dict[tuple[str, str], tuple[Waiting, ...]] = {}
        self._arrived: dict[str, int] = {}
        self._woken: set[str] = set()
        self._shelf = shelf
        self._needed: list[Needed] = []
        self._spent: list[str] = []

    def state(self, job: str) -> machine.State:
        """Where a job stands."""
        return self._states.get(job, machine.State())

    def start(self, clock: Clock, out: list[Predict]) -> None:
        """Go on with what an earlier process left."""
        self.reload()
        for job in self._jobs:
            waiting = self._store.sample_totals(job).waiting
            self._run(job, machine.Started(waiting, clock[0]), clock, out)

    def objection(self, sample: HardSample) -> BadPayload | None:
        """Why the sample is not what its job takes; None when it is, or when the job is unknown."""
        spec = self._jobs.get(sample.job)
        if spec is None:
            return None
        try:
            _check(sample, spec)
        except BadPayload as error:
            return error
        return None

    def take_sample(self, node: str, sample: HardSample, at: int) -> Refusal | Deferral | Outcome:
        """Store a sample that has no `objection` once, if there is room."""
        spec = self._jobs.get(sample.job)
        if spec is None:
            return self.unknown(sample)
        if not self._room(sample.job, spec):
            reason = f"job {sample.job}: the hub holds as many unanswered samples as it may"
            return Deferral(event_id=sample.event_id, retry_s=spec.retry_s, reason=reason)
        ref = sample.x.blob
        digest = sha256(sample.x.data).digest() if ref is None else bytes.fromhex(ref.sha256)
        if ref is not None and not self._store.has_sample(node, sample.job, sample.sample_id):
            whole = self._whole(node, sample, ref, spec)
            if not isinstance(whole, HardSample):
                return whole
            sample = whole
        added = self._store.add_sample(node, sample, digest, at)
        if added is Added.CONFLICT:
            return Refusal(event_id=sample.event_id, reason=f"sample_id {sample.sample_id!r} has other content here")
        if added is Added.KNOWN:
            self._answer_again(node, sample, at)
            return Outcome.KNOWN
        self._arrived[sample.job] = self._arrived.get(sample.job, 0) + 1
        return Outcome.STORED

    def _whole(self, node: str, sample: HardSample, ref: BlobRef, spec: JobSpec) -> HardSample | Refusal | Deferral:
        """A sample with the content of its blob, when that is there and is what the job takes."""
        try:
            data = self._shelf.load(node, ref)
            if data is None:
                self._needed.append(Needed(node, sample))
                reason = f"blob {ref.sha256[:12]} is still to come"
                return Deferral(event_id=sample.event_id, retry_s=spec.retry_s, reason=reason)
            self._spent.append(ref.sha256)
            sample = structs.replace(sample, x=structs.replace(sample.x, data=data, blob=None))
            _check(sample, spec)
        except BadPayload as error:
            return Refusal(event_id=sample.event_id, reason=str(error))
        return sample

    def has(self, job: str) -> bool:
        """Whether the job is in this hub's configuration."""
        return job in self._jobs

    def unknown(self, message: JobMessage) -> Deferral:
        """What a message of a job gets that is not there (yet)."""
        reason = f"job {message.job[:63]!r} is not in this hub's configuration"
        return Deferral(event_id=message.event_id, retry_s=300.0, reason=reason)

    def arrived(self, clock: Clock, out: list[Predict]) -> None:
        """A batch of messages has been taken in: tell the machines what is new."""
        for job, number in self._arrived.items():
            self._run(job, machine.Arrived(number, clock[0]), clock, out)
        self._arrived.clear()

    def ready(self, job: str, worker: str, model: str, clock: Clock, out: list[Predict]) -> None:
        """A worker has loaded its model."""
        self._run(job, machine.Ready(worker, model, clock[0]), clock, out)

    def answered(self, job: str, worker: str, verdicts: Sequence[Verdict], clock: Clock, out: list[Predict]) -> None:
        """A worker has answered its batch: keep the answers and put them into the outbox.

        The batch stays in memory until the next, for this transaction may fail and be tried again.
        """
        held = {sample.row: sample for sample in self._held.get((job, worker), ())}
        for verdict in verdicts:
            if verdict.row in held:
                self._answer(held[verdict.row], verdict, self.state(job).model, clock)
        failed = sum(bool(verdict.error) for verdict in verdicts)
        self._run(job, machine.Answered(worker, failed, clock[0]), clock, out)

    def died(self, job: str, worker: str, reason: str, clock: Clock, out: list[Predict]) -> None:
        """A worker is gone."""
        self._held.pop((job, worker), None)
        self._run(job, machine.Died(worker, reason, clock[0]), clock, out)

    def tick(self, clock: Clock, out: list[Predict]) -> None:
        """Time passed."""
        for job in self._jobs:
            due = machine.wake_at(self.state(job), self._jobs[job].batch)
            if due is not None and due <= clock[0]:
                self._run(job, machine.Tick(clock[0]), clock, out)

    def wake_at(self) -> float | None:
        """Run time at which `tick` is due."""
        times = [machine.wake_at(self.state(job), spec.batch) for job, spec in self._jobs.items()]
        return min((time for time in times if time is not None), default=None)

    def take_woken(self) -> list[str]:
        """The nodes for whom answers were put into the outbox since the last call."""
        woken = sorted(self._woken)
        self._woken.clear()
        return woken

    def take_blobs(self) -> tuple[list[Needed], list[str]]:
        """The samples whose blobs are needed, and the blobs that are not any more, since the last call."""
        taken = self._needed, self._spent
        self._needed, self._spent = [], []
        return taken

    def reload(self) -> None:
        """Read the states from the store again, as after a transaction that failed."""
        self.take_blobs()
        self._arrived.clear()
        self._woken.clear()
        for job in self._jobs:
            saved = self._store.load_job(job)
            self._states[job] = msgspec.json.decode(saved, type=machine.State) if saved else machine.State()

    def _run(self, job: str, event: machine.Event, clock: Clock, out: list[Predict]) -> None:
        before = self.state(job)
        spec = self._jobs[job].batch
        state, effects = machine.step(before, event, spec)
        pending = list(effects)
        while pending:
            effect = pending.pop(0)
            if isinstance(effect, machine.Fail):
                self._fail(effect, state.model, clock)
                continue
            samples = self._samples(job, effect)
            if samples:
                self._held[job, effect.worker] = samples
                out.append(Predict(job, effect.worker, samples))
            rows = tuple(sample.row for sample in samples)
            state, more = machine.step(state, machine.Taken(effect, rows, clock[0]), spec)
            pending += more
        if state != before:
            self._states[job] = state
            self._store.save_job(job, msgspec.json.encode(state))
            self._store.log_event(job, clock[1], msgspec.json.encode(event))

    def _samples(self, job: str, take: machine.Take) -> tuple[Waiting, ...]:
        if take.row is not None:
            return tuple(self._store.samples((take.row,)))
        return tuple(self._store.waiting(job, take.limit, take.skip))

    def _fail(self, effect: machine.Fail, model: str, clock: Clock) -> None:
        for sample in self._store.samples((effect.row,)):
            self._answer(sample, Verdict(effect.row, None, effect.reason), model, clock)

    def _answer(self, sample: Waiting, verdict: Verdict, model: str, clock: Clock) -> None:
        if self._store.answer(verdict, model, clock[1]):
            self._offer(sample.node, sample.job, sample.sample_id, (verdict, model), clock)

    def _answer_again(self, node: str, sample: HardSample, at: int) -> None:
        """A node that was restored from a backup asks again: its app may not have had the answer."""
        found = self._store.answered(node, sample.job, sample.sample_id)
        if found is not None:
            self._offer(node, sample.job, sample.sample_id, found, (0.0, at))

    def _offer(self, node: str, job: str, sample_id: str, found: tuple[Verdict, str], clock: Clock) -> None:
        verdict, model = found
        answer = Answer(
            event_id="", timestamp=clock[1], job=job, sample_id=sample_id, value=verdict.value, model=model,
            error=verdict.error,
        )  # fmt: skip
        draft = Draft(
            peer=node, path=channels.DOWN_ANSWER.path, job=job, kind=Kind.ANSWER, key=sample_id, created=clock[0],
            body=encode_body(answer, self._form),
        )  # fmt: skip
        self._bounds.put(draft)
        self._woken.add(node)

    def _room(self, job: str, spec: JobSpec) -> bool:
        """Is there room for one more sample? Answered ones make room, unanswered ones never do."""
        if not spec.max_rows and not spec.max_bytes:
            return True
        totals = self._store.sample_totals(job)
        if not _over(totals.rows, spec.max_rows) and not _over(totals.bytes, spec.max_bytes):
            return True
        return self._store.drop_samples(job, 64) > 0


def _over(number: int, cap: int) -> bool:
    return 0 < cap <= number


def _check(sample: HardSample, spec: JobSpec) -> None:
    """Raise BadPayload unless the sample is one that the job takes."""
    if not sample.sample_id or len(sample.sample_id) > 200:
        raise BadPayload(f"sample_id {sample.sample_id[:40]!r}: use 1 to 200 characters")
    if spec.dtype and sample.x.dtype != spec.dtype:
        raise BadPayload(f"x.dtype is {sample.x.dtype[:40]}, job {sample.job} takes {spec.dtype}")
    if spec.shape is not None and sample.x.shape != spec.shape:
        raise BadPayload(f"x.shape is {sample.x.shape}, job {sample.job} takes {spec.shape}")
    if is_compressed(sample.x) or sample.x.blob is not None:  # a worker inflates it, where a bomb harms nobody
        check(sample.x)
    else:
        unpack(sample.x)
