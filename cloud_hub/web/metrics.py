"""Prometheus' text format, and the hub's numbers in it."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from cloud_hub.health import Health


class Family(NamedTuple):
    """One metric: its name, what it counts, and a value for each set of labels."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    values: Mapping[tuple[tuple[str, str], ...], float]


def render(families: Iterable[Family]) -> str:
    """The text format, version 0.0.4."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.values.items():
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(f"{family.name}{{{inner}}} {value:.17g}" if inner else f"{family.name} {value:.17g}")
    return "\n".join(lines) + "\n"


def collect(reader: sqlite3.Connection, health: Health) -> list[Family]:
    """The hub's numbers, from its database (read beside it) and from its parts."""
    rows = reader.execute
    samples = rows("SELECT job, outcome, sum(number) FROM ledger WHERE path = 'up/sample' GROUP BY job, outcome")
    answers = rows("SELECT job, outcome, sum(number) FROM ledger WHERE path = 'down/answer' GROUP BY job, outcome")
    waiting = rows("SELECT job, count(*) FROM samples WHERE answered_at IS NULL GROUP BY job")
    bad = rows("SELECT coalesce(sum(number), 0) FROM ledger WHERE outcome = 'quarantined'").fetchone()[0]
    nodes = dict(rows("SELECT online, count(*) FROM nodes GROUP BY online"))
    outbox = rows("SELECT count(*), coalesce(sum(size), 0) FROM outbox").fetchone()
    dead = rows("SELECT count(*) FROM dead_letters").fetchone()[0]
    connected = float(not health.broker)
    return [
        Family("hub_samples_total", "counter", "Hard samples, by how they ended at the hub.", _two("outcome", samples)),
        Family("hub_answers_total", "counter", "Answers, by how far they came.", _two("outcome", answers)),
        Family("hub_samples_waiting", "gauge", "Samples without an answer.", {_job(j): n for j, n in waiting}),
        Family("hub_nodes", "gauge", "Nodes, by whether they are there.", {
            (("state", "online"),): nodes.get(1, 0), (("state", "offline"),): nodes.get(0, 0)}),
        Family("hub_outbox_messages", "gauge", "Messages that wait for a node's receipt.", {(): outbox[0]}),
        Family("hub_outbox_bytes", "gauge", "Bytes of the messages that wait.", {(): outbox[1]}),
        Family("hub_dead_letters", "gauge", "Messages that a person should look at.", {(): dead}),
        Family("hub_quarantined_total", "counter", "Messages that could not be read.", {(): bad}),
        Family("hub_mqtt_connected", "gauge", "Whether the broker is connected.", {(): connected}),
        Family("hub_mqtt_messages_total", "counter", "Messages taken in since the start.", {(): health.messages}),
        Family("hub_commits_total", "counter", "Turns of the database since the start.", {(): health.turns}),
        Family("hub_storage_full", "gauge", "Whether there is no room to store.", {(): float(bool(health.database))}),
        Family("hub_workers_missing", "gauge", "Workers that are not ready.", _jobs(health.missing)),
        Family("hub_worker_deaths_total", "counter", "Workers that died since the start.", _jobs(health.deaths)),
    ]  # fmt: skip


def _two(label: str, rows: Iterable[tuple[str, str, int]]) -> dict[tuple[tuple[str, str], ...], float]:
    return {(("job", job), (label, value)): number for job, value, number in rows}


def _jobs(numbers: Mapping[str, int]) -> dict[tuple[tuple[str, str], ...], float]:
    return {_job(job): number for job, number in numbers.items()}


def _job(name: str) -> tuple[tuple[str, str], ...]:
    return (("job", name),)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
