"""The hub's store in memory, for the simulator and for tests of the cores."""

from collections.abc import Collection, Sequence

from msgspec import Struct, structs

from cloud_hub.store.protocol import Added, Issued, NodeRecord, SampleTotals, Verdict, Waiting, WantedPolicy, progress
from messages.delivery.memory import MemoryStore
from messages.shapes import HardSample, Report

Key = tuple[str, str, str]
Told = tuple[dict[tuple[str, str], WantedPolicy], dict[str, Issued]]


class _Kept(Struct, frozen=True):
    waiting: Waiting
    digest: bytes
    verdict: Verdict | None = None
    model: str = ""


class MemoryHubStore(MemoryStore):
    """All that the hub keeps, in dictionaries that failed transactions restore."""

    def __init__(self) -> None:
        super().__init__()
        self._samples: dict[int, _Kept] = {}
        self._by_key: dict[Key, int] = {}
        self._open: dict[str, dict[int, Waiting]] = {}
        self._nodes: dict[str, NodeRecord] = {}
        self._reports: dict[tuple[str, str], Report] = {}
        self._jobs: dict[str, bytes] = {}
        self._events: dict[int, tuple[str, int, bytes]] = {}
        self._wanted: dict[tuple[str, str], WantedPolicy] = {}
        self._issued: dict[str, Issued] = {}
        self._ids["policy"] = 0

    def add_sample(self, node: str, sample: HardSample, digest: bytes, received_at: int) -> Added:
        key = (node, sample.job, sample.sample_id)
        row = self._by_key.get(key)
        if row is not None:
            return Added.KNOWN if self._samples[row].digest == digest else Added.CONFLICT
        row = self._draw("row")
        waiting = Waiting(row, node, sample.job, sample.sample_id, sample.x, received_at)
        self._set(self._samples, row, _Kept(waiting, digest))
        self._set(self._by_key, key, row)
        self._set(self._open.setdefault(sample.job, {}), row, waiting)
        return Added.STORED

    def has_sample(self, node: str, job: str, sample_id: str) -> bool:
        return (node, job, sample_id) in self._by_key

    def waiting(self, job: str, limit: int, skip: Collection[int] = ()) -> Sequence[Waiting]:
        rows = sorted(row for row in self._open.get(job, {}) if row not in skip)
        return [self._samples[row].waiting for row in rows[:limit]]

    def samples(self, rows: Sequence[int]) -> Sequence[Waiting]:
        kept = (self._samples.get(row) for row in rows)
        return [item.waiting for item in kept if item is not None and item.verdict is None]

    def answer(self, verdict: Verdict, model: str, at: int) -> bool:
        kept = self._samples.get(verdict.row)
        if kept is None or kept.verdict is not None:
            return False
        self._set(self._samples, verdict.row, structs.replace(kept, verdict=verdict, model=model))
        self._close(kept.waiting)
        return True

    def answered(self, node: str, job: str, sample_id: str) -> tuple[Verdict, str] | None:
        kept = self._samples.get(self._by_key.get((node, job, sample_id), -1))
        return None if kept is None or kept.verdict is None else (kept.verdict, kept.model)

    def sample_totals(self, job: str) -> SampleTotals:
        sizes = [len(kept.waiting.x.data) for kept in self._samples.values() if kept.waiting.job == job]
        return SampleTotals(len(sizes), len(self._open.get(job, {})), sum(sizes))

    def drop_samples(self, job: str, rows: int) -> int:
        answered = [k.waiting for k in self._samples.values() if k.verdict is not None and k.waiting.job == job]
        for waiting in answered[:rows]:
            self._set(self._samples, waiting.row, self._absent)
            self._set(self._by_key, (waiting.node, job, waiting.sample_id), self._absent)
        return len(answered[:rows])

    def node(self, name: str) -> NodeRecord | None:
        return self._nodes.get(name)

    def save_node(self, record: NodeRecord) -> None:
        self._set(self._nodes, record.name, record)

    def nodes(self) -> Sequence[NodeRecord]:
        return [self._nodes[name] for name in sorted(self._nodes)]

    def save_report(self, node: str, report: Report, at: int) -> None:
        before = self._reports.get((node, report.job))
        if before is None or progress(before) <= progress(report):
            self._set(self._reports, (node, report.job), report)

    def reports(self) -> Sequence[tuple[str, Report]]:
        return [(node, self._reports[node, job]) for node, job in sorted(self._reports)]

    def load_job(self, job: str) -> bytes | None:
        return self._jobs.get(job)

    def save_job(self, job: str, state: bytes) -> None:
        self._set(self._jobs, job, state)

    def log_event(self, job: str, at: int, event: bytes) -> None:
        self._set(self._events, self._draw("row"), (job, at, event))

    def save_policy(self, wanted: WantedPolicy) -> None:
        self._draw("policy")
        self._set(self._wanted, (wanted.job, wanted.node), wanted)

    def policies(self) -> Sequence[tuple[str, str, str]]:
        return [(wanted.job, wanted.node, wanted.digest) for wanted in self._wanted.values()]

    def policy(self, job: str, node: str) -> WantedPolicy | None:
        return self._wanted.get((job, node)) or self._wanted.get((job, ""))

    def policy_document(self, digest: str) -> bytes:
        return next(wanted.document for wanted in self._wanted.values() if wanted.digest == digest)

    def policy_mark(self) -> int:
        return self._ids["policy"]

    def issued(self, node: str) -> Issued | None:
        return self._issued.get(node)

    def save_issued(self, issued: Issued) -> None:
        self._set(self._issued, issued.node, issued)

    def told(self) -> Told:
        """What is wanted and what nodes were told, as a backup keeps it."""
        return dict(self._wanted), dict(self._issued)

    def tell(self, told: Told) -> None:
        """Go back to a backup."""
        self._wanted, self._issued = dict(told[0]), dict(told[1])

    def content(self, node: str, job: str, sample_id: str) -> bytes | None:
        """The bytes of a stored sample, to compare with what was sent."""
        kept = self._samples.get(self._by_key.get((node, job, sample_id), -1))
        return None if kept is None else kept.waiting.x.data

    def _close(self, waiting: Waiting) -> None:
        self._set(self._open[waiting.job], waiting.row, self._absent)
