"""The offload policy's numbers for Prometheus, by job and node."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from msgspec import json

from cloud_hub.labels.table import top
from cloud_hub.web.families import Family, Labels
from messages.shapes import Report

AUDITS: Final = 1_000
"""Agreement is that of a job's last audits, so many."""

_AUDITS: Final = (
    "SELECT node, edge, value FROM samples WHERE job = ? AND audit AND value IS NOT NULL ORDER BY id DESC LIMIT ?"
)
_ALARMS: Final = "SELECT job, node, kind, count(*) FROM alarms WHERE until = 0 GROUP BY job, node, kind"
_decode = json.Decoder(Report).decode


def collect(reader: sqlite3.Connection) -> list[Family]:
    """From the latest reports, the last audits, and the alarms that hold."""
    reports = [(node, _decode(text)) for node, text in reader.execute("SELECT node, report FROM reports")]
    alarms = reader.execute(_ALARMS).fetchall()

    def each(figure: Callable[[Report], float | None]) -> dict[Labels, float]:
        found = ((_labels(report.job, node), figure(report)) for node, report in reports)
        return {labels: value for labels, value in found if value is not None}

    results = each(_local)
    results = {(*labels, ("result", "local")): value for labels, value in results.items()}
    results |= {(*labels, ("result", "offloaded")): value for labels, value in each(_sent).items()}
    return [
        Family("hub_edge_inferences_total", "counter", "Samples that nodes judged, since their start.", results),
        Family("hub_offload_rate_ratio", "gauge", "Share of samples sent, since the node's start.", each(_rate)),
        Family("hub_offload_budget_ratio", "gauge", "Share of samples that may be sent.", each(_budget)),
        Family("hub_edge_agreement_ratio", "gauge", f"Share of the last {AUDITS} audits where edge and cloud agree.",
               _agreement(reader, {report.job for _, report in reports})),
        Family("hub_alarms", "gauge", "Alarms that hold.", {
            (*_labels(job, node), ("kind", kind)): number for job, node, kind, number in alarms}),
    ]  # fmt: skip


def _labels(job: str, node: str) -> Labels:
    return (("job", job), ("node", node))


def _sent(report: Report) -> float:
    return report.counters.get("hard", 0.0)


def _local(report: Report) -> float:
    return report.counters.get("all", 0.0) - _sent(report)


def _rate(report: Report) -> float | None:
    samples = report.counters.get("all", 0.0)
    return _sent(report) / samples if samples else None


def _budget(report: Report) -> float | None:
    return report.gauges.get("budget")


def _agreement(reader: sqlite3.Connection, jobs: set[str]) -> dict[Labels, float]:
    counts: dict[Labels, list[int]] = defaultdict(lambda: [0, 0])
    for job in jobs:
        for node, edge, value in reader.execute(_AUDITS, (job, AUDITS)):
            classes = top(edge), top(value)
            if None not in classes:
                counts[_labels(job, node)][0] += 1
                counts[_labels(job, node)][1] += classes[0] == classes[1]
    return {labels: agreed / number for labels, (number, agreed) in counts.items()}
