"""Fits a job's policy to what is known, and makes it the one that nodes should run."""

import sqlite3
from typing import NamedTuple

import numpy as np
from msgspec import Struct, json, structs

from cloud_hub.calibration import Calibration, Fitted, calibrate
from cloud_hub.calibration.gain import oracle_share
from cloud_hub.calibration.rows import UNKNOWN
from cloud_hub.ingest.desired import wanted
from cloud_hub.jobs.recalibration import Calibrated
from cloud_hub.offload.examples import Examples
from cloud_hub.store.folder import transaction
from cloud_hub.store.wanted import WantedTables
from messages.codec import decode, encode
from messages.offload.features import pooler
from messages.offload.score import scorer
from messages.offload.shapes import Certainty, OffloadPolicy


class Marks(NamedTuple):
    """The last sample and the last label that a fit could know of."""

    sample: int
    label: int


def marks(reader: sqlite3.Connection) -> Marks:
    """Where they stand now."""
    sql = "SELECT (SELECT coalesce(max(id), 0) FROM samples), (SELECT coalesce(max(id), 0) FROM labels)"
    return Marks(*reader.execute(sql).fetchone())


def in_force(reader: sqlite3.Connection, job: str, node: str) -> OffloadPolicy | None:
    """The policy that is wanted for a job on a node, or on all."""
    found = WantedTables(reader).policy(job, node)
    return None if found is None else decode(OffloadPolicy, found.document)


def fit(examples: Examples, before: OffloadPolicy, at: int) -> Fitted:
    """The policy for these examples that takes the place of another, with its terms. Raises CalibrationError."""
    base = OffloadPolicy(
        job=before.job, version=before.version + 1, model=examples.model, terms=before.terms, fitted_at=at
    )
    return calibrate(Calibration(probs=examples.edge, x=examples.x, cloud=examples.cloud, labels=examples.labels), base)


def worse(fitted: Fitted, before: OffloadPolicy | None, examples: Examples) -> str:
    """Why the policy in force is better on the same samples; empty when it is not, or when nothing tells."""
    chosen = next((candidate for candidate in fitted.table if candidate.chosen), None)
    if chosen is None or before is None or before.model not in ("", examples.model):
        return ""
    known = (examples.labels != UNKNOWN) & (examples.cloud != UNKNOWN)
    edge, labels = examples.edge[known], examples.labels[known]
    pooled = None if before.pool is None else pooler(before.pool)(examples.x[known])
    gain = (examples.cloud[known] == labels).astype(np.float64) - (edge.argmax(axis=1) == labels)
    share = oracle_share(np.asarray(scorer(before.score)(edge, pooled)), gain, before.floor)
    if chosen.share + chosen.error >= share:
        return ""
    return f"of the oracle's gain the new one has {chosen.share:.2f}, policy {before.version} has {share:.2f}"


class Summary(Struct, frozen=True):
    """A calibration for programs; `version` is None where nothing was set."""

    version: int | None
    rule: str
    samples: int
    labels: int
    left_out: dict[str, int]
    shares: dict[str, float]
    notes: tuple[str, ...]
    bytes: int


def summary(fitted: Fitted, examples: Examples, version: int | None) -> Summary:
    """What a person sees in a table."""
    policy = fitted.policy
    return Summary(
        version, rule_of(fitted), policy.samples, policy.labels, dict(examples.left_out),
        {candidate.rule: candidate.share for candidate in fitted.table}, fitted.notes, len(encode(policy)),
    )  # fmt: skip


def rule_of(fitted: Fitted) -> str:
    """What the rule that was chosen is called."""
    chosen = [candidate.rule for candidate in fitted.table if candidate.chosen]
    score = fitted.policy.score
    return chosen[0] if chosen else score.rule if isinstance(score, Certainty) else "network"


def save(connection: sqlite3.Connection, fitted: Fitted, *, node: str, seen: Marks, kept: str = "") -> int:
    """Want the policy from now on, unless it is `kept` back, and write down what was seen. Returns its version.

    Its terms are those in force now, for a person may have changed them meanwhile, unless it promises quality.
    """
    policy = fitted.policy
    with transaction(connection):
        before = in_force(connection, policy.job, node)
        version = 0 if before is None else before.version
        if not kept:
            promises = policy.terms is not None and policy.terms.quality is not None
            terms = policy.terms if promises or before is None else before.terms
            version, policy = version + 1, structs.replace(policy, version=version + 1, terms=terms)
            WantedTables(connection).save_policy(wanted(policy.job, node, encode(policy), policy.fitted_at))
        event = Calibrated(node, version, policy.samples, policy.labels, rule_of(fitted), kept)
        text = json.encode(event)
        connection.execute(
            "INSERT OR REPLACE INTO calibrations VALUES (?, ?, ?, ?, ?)",
            (policy.job, policy.fitted_at, *seen, text.decode()),
        )
        sql = "INSERT INTO job_events (job, at, event) VALUES (?, ?, ?)"
        connection.execute(sql, (policy.job, policy.fitted_at, text))
    return version
