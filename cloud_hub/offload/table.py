"""What a job's policy did on each node in a period, from the hub's own tables: reports, samples, labels, alarms."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from msgspec import Struct, json

from cloud_hub.labels.table import COUNTS, top
from cloud_hub.offload.estimates import Estimate, Stratum, overall, share
from messages.desk.leftovers import moment
from messages.offload.features import INVALID, NO_BOXES, NO_CONFIDENCE, ONE_CLASS
from messages.shapes import Report

COLUMNS: Final = ("node", "samples", "sent %", "budget %", "agreement %", "audits", "edge right %", "joint right %",
                  "kB", "alarms")  # fmt: skip

ALL: Final = "all nodes"

AUDIT: Final = "audit"
"""The reason of samples that chance alone sent: they tell how the easy ones are."""

_KINDS: Final = {AUDIT: "chance", "shifted": "urgent", INVALID: "urgent", NO_BOXES: "urgent", NO_CONFIDENCE: "urgent",
                 ONE_CLASS: "urgent"}  # fmt: skip
_HELD: Final = ("over budget", "link down")
_UNSEEN: Final = 0.1
"""This part of the samples may be easy ones of which nothing is known; the interval says so."""

_MARKS: Final = (
    "SELECT node, session, report FROM report_marks WHERE id IN"
    " (SELECT max(id) FROM report_marks WHERE job = ? AND at <= ? GROUP BY node, session) ORDER BY id"
)
_SAMPLES: Final = (
    "SELECT node, reason, audit, edge, value, label FROM (SELECT *, {} AS label FROM samples"
    " WHERE job = ? AND received_at > ? AND received_at <= ? AND value IS NOT NULL) WHERE audit OR label IS NOT NULL"
)
_ALARMS: Final = (
    "SELECT node, kind, at, until, text FROM alarms"
    " WHERE job = ? AND seen_at <= ? AND (over_at = 0 OR over_at > ?) ORDER BY node, session, number"
)
_decode = json.Decoder(Report).decode


class AlarmRow(Struct, frozen=True):
    """An alarm of a node, in ms of its own clock; `until` 0: it holds."""

    kind: str
    at: int
    until: int
    text: str


class NodeRow(Struct, frozen=True, kw_only=True):
    """What a job did on one node in a period.

    `samples` were judged, `sent` of them went to the hub (`rate`), `bytes` in all; `budget` is the share in force last.
    `agreement` says how often edge and cloud agree among audits, which is no accuracy. The accuracies need labels, of
    what was sent for some reason and of audits: these tell how what was kept is.
    """

    node: str
    samples: int
    sent: int
    rate: float
    budget: float | None
    audits: int
    agreement: Estimate | None
    labels: int
    edge_accuracy: Estimate | None
    joint_accuracy: Estimate | None
    bytes: int
    low_trust: int
    alarms: tuple[AlarmRow, ...]


class Shown(Struct, frozen=True):
    """A row for each node, and one for all of them together, which has narrower intervals."""

    nodes: tuple[NodeRow, ...]
    all: NodeRow


class Seen(NamedTuple):
    """Samples with labels: how many, and how many of them the edge and the cloud have right."""

    number: int = 0
    edge: int = 0
    cloud: int = 0

    def and_more(self, other: "Seen") -> "Seen":
        """Both together."""
        return Seen(self.number + other.number, self.edge + other.edge, self.cloud + other.cloud)


@dataclass
class Tally:
    """Answered samples of one node: its audits, and by why they were sent those with labels."""

    audits: int = 0
    agreed: int = 0
    chance: Seen = field(default_factory=Seen)
    hard: Seen = field(default_factory=Seen)
    urgent: Seen = field(default_factory=Seen)

    def add(self, reason: str, *, audit: bool, edge: int, cloud: int, label: int | None) -> None:
        """Take in one sample; edge, cloud and label are classes."""
        self.audits += audit
        self.agreed += audit and edge == cloud
        if label is None:
            return
        kind = _KINDS.get(reason, "hard")
        seen: Seen = getattr(self, kind)
        setattr(self, kind, seen.and_more(Seen(1, edge == label, cloud == label)))

    def __add__(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(
            self.audits + other.audits, self.agreed + other.agreed, self.chance.and_more(other.chance),
            self.hard.and_more(other.hard), self.urgent.and_more(other.urgent),
        )  # fmt: skip

    @property
    def labels(self) -> int:
        """How many have labels."""
        return self.chance.number + self.hard.number + self.urgent.number


def of_job(reader: sqlite3.Connection, job: str, *, since: int = 0, until: int = 2**53) -> Shown:
    """A row for each node that reported in the period (hub's clock, ms), and one for all of them.

    Reports come once in a heartbeat: the period begins and ends with the last one before each of its ends.
    """
    before, after = _marks(reader, job, since), _marks(reader, job, until)
    tallies = _tallies(reader, job, since, until)
    alarms: dict[str, list[AlarmRow]] = defaultdict(list)
    for node, *alarm in reader.execute(_ALARMS, (job, until, since)):
        alarms[node].append(AlarmRow(*alarm))
    found = sorted(_differences(before, after).items())
    rows = tuple(
        _row(node, counters, tallies[node], budget=budget, alarms=tuple(alarms[node]))
        for node, (counters, budget) in found
    )
    counters, tally = Counter[str](), Tally()
    for node, (counted, _) in found:
        counters.update(counted)
        tally = tally + tallies[node]
    return Shown(rows, _row(ALL, counters, tally))


def _marks(reader: sqlite3.Connection, job: str, at: int) -> dict[tuple[str, int], Report]:
    """The last report of each session up to a time."""
    return {(node, session): _decode(report) for node, session, report in reader.execute(_MARKS, (job, at))}


def _differences(
    before: Mapping[tuple[str, int], Report], after: Mapping[tuple[str, int], Report]
) -> dict[str, tuple[dict[str, float], float | None]]:
    """What each node counted in between, over all its sessions, and its last budget."""
    found: dict[str, tuple[dict[str, float], float | None]] = {}
    for key, report in after.items():
        start = before[key].counters if key in before else {}
        counted, _ = found.get(key[0], ({}, None))
        for name, number in report.counters.items():
            counted[name] = counted.get(name, 0.0) + number - start.get(name, 0.0)
        found[key[0]] = (counted, report.gauges.get("budget"))
    return found


def _tallies(reader: sqlite3.Connection, job: str, since: int, until: int) -> dict[str, Tally]:
    tallies: dict[str, Tally] = defaultdict(Tally)
    for node, reason, audit, edge, value, label in reader.execute(_SAMPLES.format(COUNTS), (job, since, until)):
        classes = top(edge), top(value)
        if classes[0] is not None and classes[1] is not None:
            tallies[node].add(reason, audit=bool(audit), edge=classes[0], cloud=classes[1], label=label)
    return tallies


def _row(
    node: str, counters: Mapping[str, float], tally: Tally, *, budget: float | None = None,
    alarms: tuple[AlarmRow, ...] = (),
) -> NodeRow:  # fmt: skip
    def count(name: str) -> int:
        return int(counters.get(name, 0.0))

    samples, sent = count("all"), count("hard")
    return NodeRow(
        node=node, samples=samples, sent=sent, rate=sent / samples if samples else 0.0, budget=budget,
        audits=count("audits"), agreement=share(tally.agreed, tally.audits), labels=tally.labels,
        edge_accuracy=_accuracy(tally, count, joint=False), joint_accuracy=_accuracy(tally, count, joint=True),
        bytes=count("bytes_sent"), low_trust=count("low_trust"), alarms=alarms,
    )  # fmt: skip


def _accuracy(tally: Tally, count: Callable[[str], int], *, joint: bool) -> Estimate | None:
    """Of all samples. Easy ones are like those that chance sent; what was held back is like what was not."""
    if not tally.labels:
        return None
    samples, sent, chance, low = count("all"), count("hard"), count(f"reason.{AUDIT}"), count("low_trust")
    held = sum(count(f"reason.{why}") for why in _HELD)
    easy, picked = samples - sent - held, tally.hard.and_more(tally.urgent)
    if easy > _UNSEEN * samples and not tally.chance.number:
        return None
    return overall([
        _sent(sent - chance, picked, joint=joint),
        _sent(chance, tally.chance, joint=joint),
        _kept(easy, tally.chance),
        _kept(low, tally.urgent if tally.urgent.number else picked),
        _kept(held - low, tally.hard if tally.hard.number else picked),
    ])  # fmt: skip


def _sent(size: int, seen: Seen, *, joint: bool) -> Stratum:
    return Stratum(size, min(seen.number, size), min(seen.cloud if joint else seen.edge, size))


def _kept(size: int, seen: Seen) -> Stratum:
    return Stratum(size, seen.number, seen.edge, like=True)


def cells(row: NodeRow) -> list[str]:
    """A row as cells for a person, under COLUMNS."""
    no_accuracy = "no labels" if not row.labels else "no audits with labels"
    return [
        row.node, str(row.samples), f"{100 * row.rate:.1f}", "" if row.budget is None else f"{100 * row.budget:.1f}",
        _text(row.agreement, "none answered" if row.audits else "no audits"), str(row.audits),
        _text(row.edge_accuracy, no_accuracy), _text(row.joint_accuracy, no_accuracy), f"{row.bytes / 1000:.1f}",
        "\n".join(map(_alarm, row.alarms)),
    ]  # fmt: skip


def _text(found: Estimate | None, none: str) -> str:
    return none if found is None else f"{100 * found.value:.1f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _alarm(row: AlarmRow) -> str:
    end = f" until {moment(row.until)[:19]}" if row.until else ""
    return f"{row.kind} since {moment(row.at)[:19]}{end}"
