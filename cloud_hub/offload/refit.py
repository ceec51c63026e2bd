"""`python -m cloud_hub.offload.refit FOLDER JOB` fits a policy again and says in a line what came of it."""

import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from cloud_hub.calibration import CalibrationError
from cloud_hub.offload import fit
from cloud_hub.offload.examples import NoExamples, of_audits
from cloud_hub.store.folder import reading, writing
from messages.host.folder import FolderError
from messages.offload.shapes import OffloadPolicy


def main(folder: Path, job: str) -> int:
    """Exit code 0 when there is a result: a better policy that is set, or the old one that stays."""
    try:
        print(again(folder, job, time.time_ns() // 1_000_000))
    except (CalibrationError, NoExamples, FolderError, sqlite3.Error) as error:
        print(error)
        return 1
    return 0


def again(folder: Path, job: str, at: int) -> str:
    """Fit from audits and labels, and set the policy for all nodes unless it is worse; says what came of it.

    Raises CalibrationError, NoExamples, FolderError.
    """
    with closing(reading(folder)) as reader:
        seen, before = fit.marks(reader), fit.in_force(reader, job, "")
        examples = of_audits(reader, job)
    fitted = fit.fit(examples, before or OffloadPolicy(job=job, version=0), at)
    kept = fit.worse(fitted, before, examples)
    with writing(folder) as connection:
        version = fit.save(connection, fitted, node="", seen=seen, kept=kept)
    if kept:
        return f"policy {version} stays: {kept}"
    return f"policy {version}: {fit.rule_of(fitted)}, from {len(examples.x)} audits, {fitted.policy.labels} with labels"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
