"""Labels: files are taken in whole or not at all, corrections count, and what is stored twice stays once."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.labels.files import BadLabels, Label, read
from cloud_hub.store.folder import opened, reading
from cloud_hub.store.protocol import Verdict
from messages.shapes import Classes, HardSample
from messages.tensors import pack
from tests.support.commands import Done, hub
from tests.support.leftovers import AT

NAMES = [("cam-1", "a"), ("cam-1", "b"), ("cam-2", "b"), ("cam-2", "c")]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    with opened(tmp_path / "data", quarantine_rows=100, dead_rows=100) as store, store.transaction():
        for number, (node, sample_id) in enumerate(NAMES):
            sample = HardSample(
                event_id=f"s.{number}", timestamp=1, job="digits", sample_id=sample_id, x=pack(np.ones(2, "float32")),
                edge=Classes(probs=(0.4, 0.6)), reason="hard",
            )  # fmt: skip
            store.add_sample(node, sample, b"digest", AT)
        store.answer(Verdict(4, Classes(probs=(0.9, 0.1))), "big", AT)
    path = tmp_path / "hub.toml"
    path.write_text("[jobs.digits]\n[http]\nport = 0\n")
    return path


def take(config: Path, text: str, *more: str, name: str = "labels.csv") -> Done:
    file = config.parent / name
    file.write_text(text)
    return hub("labels", "import", "digits", file, "--config", config, *more)


def counts(config: Path, text: str, *more: str) -> dict[str, int]:
    done = take(config, text, "--json", *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def exported(config: Path) -> list[dict[str, object]]:
    done = hub("labels", "export", "digits", "--config", config)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_file_is_counted_once_and_a_correction_counts(config: Path) -> None:
    text = "sample_id,label\na,1\nc,0\nlater,1\n"
    assert counts(config, text) == {"new": 3, "corrected": 0, "known": 0, "unknown": 1}
    assert counts(config, text) == {"new": 0, "corrected": 0, "known": 3, "unknown": 1}
    assert counts(config, "sample_id,label\na,0\nc,0\n") == {"new": 0, "corrected": 1, "known": 1, "unknown": 0}
    assert {line["sample_id"]: line["label"] for line in exported(config)} == {"b": None, "a": 0, "c": 0, "later": 1}


def test_a_label_that_came_before_its_sample_is_the_samples(config: Path) -> None:
    counts(config, "sample_id,label\nlater,1\n")
    with opened(config.parent / "data", quarantine_rows=100, dead_rows=100) as store, store.transaction():
        sample = HardSample(
            event_id="s.9", timestamp=1, job="digits", sample_id="later", x=pack(np.ones(2, "float32")),
            edge=Classes(probs=(0.4, 0.6)), reason="hard",
        )  # fmt: skip
        store.add_sample("cam-9", sample, b"digest", AT)
    assert "later" not in {line["sample_id"] for line in exported(config) if line["label"] is None}
    assert counts(config, "sample_id,label\nlater,0\n")["corrected"] == 1


def test_what_is_exported_is_imported_once_it_is_filled_in(config: Path) -> None:
    lines = exported(config)
    assert [(line["node"], line["sample_id"]) for line in lines] == NAMES[::-1]
    assert lines[0] == {
        "sample_id": "c", "label": None, "node": "cam-2", "edge": 1, "cloud": 0, "reason": "hard", "audit": False,
    }  # fmt: skip
    lines[1]["label"] = 7
    text = "\n".join(json.dumps(line) for line in lines)
    assert counts(config, text) == {"new": 1, "corrected": 0, "known": 0, "unknown": 0}
    assert exported(config)[-1] == {"sample_id": "b", "label": 7, "node": "cam-2"}


def test_two_people_may_disagree_and_the_later_version_counts(config: Path) -> None:
    counts(config, "sample_id,label\na,1\n", "--author", "ann")
    counts(config, "sample_id,label\na,2\n", "--author", "ben")
    counts(config, "sample_id,label\na,3\n", "--author", "ann")
    counts(config, "sample_id,label\na,4\n", "--author", "eve")
    assert [line["label"] for line in exported(config) if line["sample_id"] == "a"] == [3]


def test_labels_go_in_while_the_hub_runs(config: Path) -> None:
    with opened(config.parent / "data", quarantine_rows=100, dead_rows=100):
        assert take(config, "sample_id,label\na,1\nlater,1\n").stdout == (
            "2 new, 0 corrected, 0 known before\n"
            "1 of samples that this hub does not hold: kept, for they may come later\n"
        )


BAD = {
    "sample_id\na\n": ":1: no column label: the first line names the columns",
    "": ":1: no column sample_id and no column label: the first line names the columns",
    "sample_id,label\na,one\n": ":2: label: Expected `int | null`, got `str`",
    "sample_id,label\na,1\nc,-1\n": ":3: label: Expected `int` >= 0",
    "sample_id,label\na,1.5\n": ":2: label: Expected `int | null`, got `str`",
    "sample_id,label\na,1,2\n": ":2: has another number of columns than the first line",
    "sample_id,label\na\n": ":2: has another number of columns than the first line",
    "sample_id,label\n,1\n": ":2: sample_id: Expected `str` of length >= 1",
    "sample_id,label,node\na,1,cam/1\n": ":2: node 'cam/1'",
    "sample_id,label\na,1\na,2\n": ":3: label: sample 'a' is 2, but 1 in line 2",
    'sample_id,label\n"a,1\n': ":2: unexpected end of data",
    "sample_id,label\na,1\nb,1\n": ": node: 'b' is a sample of 2 nodes: say which",
    "sample_id,label,node\na,1,\na,2,cam-1\n": ": label: sample 'a' has two labels",
    '{"sample_id": "a", "label": 1}\n{"sample_id": "c"}\n': ":2: Object missing required field `label`",
    '{"sample_id": "a", "label": true}\n': ":1: label: Expected `int | null`, got `bool`",
    '{"sample_id": "a", "label": 1e99}\n': ":1: label: Expected `int | null`, got `float`",
    '{"sample_id": "a", "label": 99999999999}\n': ":1: label: Expected `int` <= 2147483647",
    '\n{"sample_id": "a", "lab\n': ":2: Input data was truncated",
}


@pytest.mark.parametrize(("text", "words"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_file_is_named_by_line_and_field_and_nothing_of_it_is_kept(config: Path, text: str, words: str) -> None:
    done = take(config, text)
    assert done.returncode == 1
    assert f"{config.parent / 'labels.csv'}{words}" in done.stderr
    with reading(config.parent / "data") as reader:
        assert reader.execute("SELECT count(*) FROM labels").fetchone() == (0,)


def test_a_job_or_file_that_is_not_there_is_said(config: Path) -> None:
    missing = hub("labels", "import", "digits", config.parent / "no.csv", "--config", config)
    assert "no.csv: No such file or directory" in missing.stderr
    assert "has no job 'digts'; its jobs are digits" in hub("labels", "export", "digts", "--config", config).stderr


@given(st.binary(max_size=200))
def test_any_bytes_are_labels_or_a_named_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(b"sample_id,label\n" + content)
    try:
        assert all(isinstance(label, Label) for label in read(file))
    except BadLabels as error:
        assert str(error).startswith(str(file))
