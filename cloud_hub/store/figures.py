"""The tables of what nodes report over time: counters, so that the figures of a period are differences, and alarms."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from msgspec import json, structs

from cloud_hub.store.protocol import progress
from messages.shapes import Report

MARK_ROWS: Final = 100_000
"""How many reports are kept, beside each node's latest; how far back the figures of a period go depends on it."""

ALARM_ROWS: Final = 10_000

_TRIM_EVERY: Final = 256
_ALARM: Final = (
    "INSERT INTO alarms VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, iif(?7 > 0, ?9, 0)) ON CONFLICT DO UPDATE"
    " SET until = excluded.until, text = excluded.text, over_at = excluded.over_at WHERE until != excluded.until"
)
_SESSION_OVER: Final = (
    "UPDATE alarms SET until = max(at, ?), over_at = ? WHERE node = ? AND job = ? AND session < ? AND until = 0"
)
_decode = json.Decoder(Report).decode


class FigureTables:
    """Implements the reports of `cloud_hub.store.protocol.Nodes`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def save_report(self, node: str, report: Report, at: int) -> None:
        sql = self.connection.execute
        found = sql("SELECT report FROM reports WHERE node = ? AND job = ?", (node, report.job)).fetchone()
        before = None if found is None else _decode(found[0])
        if before is not None and progress(report) < progress(before):
            return
        row = (node, report.job, report.session, report.timestamp, json.encode(report))
        sql("INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?)", row)
        if before is None or _figures(before) != _figures(report):
            self._mark(node, report, at)
        key = (node, report.job, report.session)
        if before is not None and before.session < report.session:
            sql(_SESSION_OVER, (report.timestamp, at, *key))
        for alarm in report.alarms:
            sql(_ALARM, (*key, *structs.astuple(alarm), at))

    def reports(self) -> Sequence[tuple[str, Report]]:
        found = self.connection.execute("SELECT node, report FROM reports ORDER BY node, job")
        return [(node, _decode(report)) for node, report in found]

    def _mark(self, node: str, report: Report, at: int) -> None:
        """Where counters stood at a time of the hub's clock; old marks and alarms make room."""
        mark = json.encode(structs.replace(report, alarms=()))
        sql = "INSERT INTO report_marks (node, job, session, at, report) VALUES (?, ?, ?, ?, ?)"
        number = self.connection.execute(sql, (node, report.job, report.session, at, mark)).lastrowid or 0
        if number % _TRIM_EVERY == 0:
            self.connection.execute("DELETE FROM report_marks WHERE id <= ?", (number - MARK_ROWS,))
            self.connection.execute(
                "DELETE FROM alarms WHERE rowid <= (SELECT max(rowid) FROM alarms) - ?", (ALARM_ROWS,)
            )


def _figures(report: Report) -> tuple[object, ...]:
    return report.session, report.counters, report.gauges
