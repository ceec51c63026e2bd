"""Standard input: one sample a line, and what is none is named by its line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.engines.protocol import TensorSpec
from edge_agent.sources.feed import IDLE, Bad, Sample
from edge_agent.sources.stdin import MAX_LINE, Stdin
from tests.support.small_agent import JOB, write_agent


@pytest.fixture
def writer() -> Iterator[int]:
    """The other end of this process's standard input."""
    before = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    yield writer
    os.dup2(before, 0)
    os.close(before)


def read(writer: int, text: str | bytes, dtype: str = "float32") -> list[Any]:
    """What comes of a whole input; it has to fit into a pipe."""
    os.write(writer, text if isinstance(text, bytes) else text.encode())
    os.close(writer)
    return list(Stdin().open(TensorSpec(dtype, (2,)), Path()))


def test_lines_are_nested_lists_with_an_id_or_without(writer: int) -> None:
    seen = read(writer, '[1, 2]\n\n{"sample_id": "a", "x": [[1, 2.5], [3, 4]], "more": 1}\r\n3')
    assert [(item.sample_id, item.x.tolist()) for item in seen] == [
        *(("", [1.0, 2.0]), ("a", [[1.0, 2.5], [3.0, 4.0]]), ("", 3.0))
    ]
    assert {item.x.dtype.name for item in seen} == {"float32"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('[1, "2"]', "x[1] is '2': not a number"),
        ('{"x": [[1, 2], ["3", 4]]}', "x[1][0] is '3': not a number"),
        ("[1, null]", "x[1] is None: not a number"),
        ('{"x": {"a": 1}}', "x is {'a': 1}: not a number"),
        ("[[1, 2], [3]]", "inhomogeneous"),
        ('{"sample_id": 7, "x": [1]}', "Expected `str`, got `int` - at `$.sample_id`"),
        ('{"sample_id": "a"}', "Object missing required field `x`"),
        ("[1, 2", "Input data was truncated"),
        ("[1, NaN]", "JSON is malformed: invalid character (byte 4)"),
        ("[1e300]", "x holds a number that float32 cannot hold"),
        ("[1" + "0" * 40 + "]", "x holds a number that float32 cannot hold"),
        ("[" * 2000, "maximum recursion depth exceeded"),
        ("[" * 200 + "]" * 200, "x is nested more than 8 deep"),
        ('{"sample_id": "\\ud800", "x": [1]}', "JSON is malformed: unexpected end of escaped utf-16 surrogate pair"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_the_next_is_read(writer: int, line: str, reason: str) -> None:
    first, bad, last = read(writer, f"[1]\n{line}\n[2]\n")
    assert isinstance(bad, Bad)
    assert bad.where == "line 2"
    assert reason in bad.reason
    assert (first.x.tolist(), last.x.tolist()) == ([1.0], [2.0])


@pytest.mark.parametrize("line", ["[0.5]", "[300]", "[-1]"])
def test_numbers_that_the_engine_cannot_hold_are_bad(writer: int, line: str) -> None:
    (bad, good) = read(writer, f"{line}\n[255, 0]\n", "uint8")
    assert bad == Bad("line 1", "x holds a number that uint8 cannot hold")
    assert good.x.tolist() == [255, 0]


def test_bytes_that_are_no_text_are_bad(writer: int) -> None:
    (bad, good) = read(writer, b'{"sample_id": "\xff", "x": [1]}\n[1]')
    assert isinstance(bad, Bad)
    assert isinstance(good, Sample)


def test_a_line_without_an_end_takes_no_memory_and_is_one_bad_reading(tmp_path: Path, writer: int) -> None:
    file = tmp_path / "long.jsonl"
    file.write_bytes(b"[" + b"1," * MAX_LINE + b"1]\n[2]\n")
    os.close(writer)
    with file.open() as opened:
        os.dup2(opened.fileno(), 0)
    bad, good = list(Stdin().open(TensorSpec("float32", (1,)), Path()))
    assert bad == Bad("line 1", f"longer than {MAX_LINE} bytes")
    assert good.x.tolist() == [2.0]


def test_a_silent_input_is_no_end(writer: int) -> None:
    items = Stdin().open(TensorSpec("float32", (1,)), Path())
    os.write(writer, b"[1]\n[2")
    assert next(items).x.tolist() == [1.0]
    assert next(items) is IDLE
    os.write(writer, b"5]\n")
    assert next(items).x.tolist() == [25.0]
    os.close(writer)
    assert list(items) == []


def test_an_agent_reads_its_input_and_ends_while_it_waits_for_more(tmp_path: Path) -> None:
    (tmp_path / "my_printer.py").write_text("def take(p): print(p.sample_id, p.reason, flush=True)\n")
    config = write_agent(tmp_path, jobs=JOB + 'sink = "my_printer:take"\nsource = "stdin"\n')
    agent = subprocess.Popen(
        [sys.executable, "-m", "edge_agent.cli", "run", "--config", config],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert agent.stdin is not None
    assert agent.stdout is not None
    agent.stdin.write(
        '{"sample_id": "a", "x": [2.0]}\n{"sample_id": "b", "x": ["2.0"]}\n{"sample_id": "c", "x": [0]}\n'
    )
    agent.stdin.flush()
    assert [agent.stdout.readline() for _ in range(2)] == ["a easy\n", "c entropy\n"]
    agent.terminate()
    _, errors = agent.communicate(timeout=20.0)
    assert agent.returncode == 0, errors
    assert "source stdin: bad reading: line 2: x[0] is '2.0': not a number" in errors
    assert "Fatal" not in errors
