"""The hub's numbers for Prometheus."""

import sqlite3
from collections.abc import Iterable, Mapping

from cloud_hub.health import Health
from cloud_hub.web import offload
from cloud_hub.web.families import Family


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
        *offload.collect(reader),
    ]  # fmt: skip


def _two(label: str, rows: Iterable[tuple[str, str, int]]) -> dict[tuple[tuple[str, str], ...], float]:
    return {(("job", job), (label, value)): number for job, value, number in rows}


def _jobs(numbers: Mapping[str, int]) -> dict[tuple[tuple[str, str], ...], float]:
    return {_job(job): number for job, number in numbers.items()}


def _job(name: str) -> tuple[tuple[str, str], ...]:
    return (("job", name),)
