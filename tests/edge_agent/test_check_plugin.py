"""`edge-agent check-plugin` finds what an agent would stumble over, and says where and what to do."""

import json
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from edge_agent import check_source
from tests.support import commands
from tests.support.small_agent import write_agent

CODE = """
import time
from itertools import count
import numpy as np
from edge_agent.engines.protocol import TensorSpec
from edge_agent.policies import Decision
from edge_agent.sources.feed import Bad
from messages.shapes import Classes

def frames(number=3):
    for n in range(number):
        print("looking")
        yield f"f{n}", np.array([n], "float32")

def endless():
    for n in count():
        yield np.array([n], "float32")

def quiet():
    while True:
        time.sleep(60)
        yield

def broken():
    yield np.zeros(1, "float32")
    raise OSError("no camera")

def nothing():
    return iter(())

def words():
    yield "a word"

def buffer():
    one = np.zeros(1, "float32")
    for n in range(5):
        one[0] = n
        yield one

def double():
    yield "f", np.zeros(1, "float32")
    yield "f", np.ones(1, "float32")

def wide():
    yield np.zeros(1, "complex64")

def mixed():
    yield np.zeros(1, "float32")
    yield np.zeros(2, "float32")

def holes():
    yield Bad("row 1", "no number")
    yield np.array([np.nan], "float32")

def rule(limit=0.5):
    return lambda value: Decision(True, "always", limit)

def fragile():
    def decide(value):
        return Decision(value.probs[0] < 0.5, "low", 0.0)
    return decide

def vague():
    return lambda value: True

def two():
    return lambda value, more: Decision(True, "", 0.0)

def dice():
    numbers = count()
    return lambda value: Decision(next(numbers) % 2 == 0, "dice", 0.0)

class Engine:
    input = TensorSpec("float32", (2,))
    digest = "0" * 64
    answer = [0.25, 0.75]
    def predict(self, x):
        return np.array(self.answer)

class Odd(Engine):
    answer = [1.0, 2.0]

class Spoils(Engine):
    def predict(self, x):
        x += 1
        return np.array(self.answer)

class Drops(Engine):
    calls = 0
    def predict(self, x):
        self.calls += 1
        return Classes(probs=(1 - 1 / self.calls, 1 / self.calls))

class Raises(Engine):
    def predict(self, x):
        return self.weights @ x

class Tires(Engine):
    calls = 0
    def predict(self, x):
        self.calls += 1
        if self.calls > 3:
            raise RuntimeError("worn out")
        return np.array(self.answer)

class Half:
    def predict(self, x):
        return x

def shown(prediction):
    print(prediction.value)

def needs_value(prediction):
    print(prediction.value.probs)

async def later(prediction):
    pass

def slow(prediction):
    time.sleep(0.05)

number = 5
"""


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    sys.modules.pop("mine", None)  # another file's tests may have one too
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "bad_syntax.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    invalidate_caches()
    yield
    sys.modules.pop("mine", None)


def check(*arguments: str) -> tuple[int, dict[str, str]]:
    """The exit code, and each finding's state with what it says."""
    done = commands.agent("check-plugin", *arguments, "--json")
    found = json.loads(done.stdout)
    assert all(bool(line["problem"]) == bool(line["solution"]) for line in found)
    return done.returncode, {f["name"]: f"{f['state']} {f['problem'] or f['note']}".rstrip() for f in found}


@pytest.mark.parametrize(
    ("name", "kind", "last"),
    [
        ("frames", "source", ("goes on", "ok 3 readings, then it ended")),
        ("endless", "source", ("goes on", "ok 20 readings, then it had more")),
        ("rule", "policy", ("NaN", "ok hard: always")),
        ("Engine", "engine", ("random numbers", "ok Classes")),
        ("shown", "sink", ("one without value", "ok")),
    ],
)
def test_a_good_plugin_passes_and_its_kind_is_seen(name: str, kind: str, last: tuple[str, str]) -> None:
    code, found = check(f"mine:{name}")
    assert (code, found["kind"], found[last[0]]) == (0, f"ok {kind}", last[1])
    assert {text.split()[0] for text in found.values()} == {"ok"}
    assert kind == "source" or found["time"].startswith("ok p50 ")


@pytest.mark.parametrize(
    ("name", "where", "text"),
    [
        ("mine:broken", "goes on", "fail mine:broken: OSError: no camera (mine.py:26)"),
        ("mine:nothing", "first sample", "fail it ended before it"),
        ("mine:words", "goes on", "fail mine:words: yielded str 'a word': not an array, nor (id, array)"),
        ("mine:buffer", "memory", "fail a sample changed after it was yielded: it may be judged, or sent, only then"),
        ("mine:double", "ids", "fail 'f' came twice: the hub stores one of them"),
        ("mine:wide", "form", "fail yields complex64"),
        ("mine:mixed", "form", "fail yields float32[1], float32[2]"),
        ("mine:holes", "form", "fail yields NaN or infinity, which the hub refuses"),
        ("mine:holes", "bad readings", "warn 1 of 2; row 1: no number"),
        ("mine:fragile", "no class", "fail the rule: IndexError: tuple index out of range (mine.py:60)"),
        ("mine:fragile", "text", "fail the rule: AttributeError: 'Text' object has no attribute 'probs' (mine.py:60)"),
        ("mine:vague", "p = 0", "fail gave True"),
        ("mine:two", "signature", "fail the rule: missing a required argument: 'more'"),
        ("mine:dice", "the same twice", "warn decides otherwise the second time"),
        ("mine:Odd", "zeros", "fail gave Classes(probs=(1.0, 2.0))"),
        ("mine:Spoils", "zeros", "fail predict changed its sample, which may yet be sent"),
        ("mine:Drops", "the same twice", "warn another result for the same sample"),
        (
            "mine:Raises", "zeros",
            "fail predict: AttributeError: 'Raises' object has no attribute 'weights' (mine.py:96)",
        ),
        ("mine:Tires", "called again", "fail predict: RuntimeError: worn out (mine.py:103)"),
        ("mine:Tires", "random numbers", "ok Classes"),
        ("mine:Half", "engine", "fail plug-in: mine:Half: an engine's `input` is a TensorSpec(dtype, shape)"),
        (
            "mine:needs_value", "one without value",
            "fail mine:needs_value: AttributeError: 'NoneType' object has no attribute 'probs' (mine.py:114)",
        ),
        ("mine:later", "signature", "fail mine:later is async, and would never be awaited"),
        ("mine:number", "import", "fail plug-in = 'mine:number': is int, not something to call"),
        ("mine:nobody", "import", "fail plug-in = 'mine:nobody': module 'mine' has no 'nobody'"),
        ("nowhere:f", "import", "fail plug-in = 'nowhere:f': there is no module 'nowhere'"),
        ("mine", "import", "fail plug-in = 'mine': write it as \"module:name\""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(name: str, where: str, text: str) -> None:
    code, found = check(name)
    assert found[where] == text
    assert code == int(any(finding.startswith("fail") for finding in found.values()))


def test_a_module_that_is_no_python_is_named_with_its_line() -> None:
    _, found = check("bad_syntax:f")
    assert "SyntaxError" in found["import"]
    assert "bad_syntax.py, line 1" in found["import"]


def test_a_slow_sink_holds_the_agent_up() -> None:
    code, found = check("mine:slow")
    assert (code, found["time"][:8]) == (0, "warn p50")
    assert found["time"].endswith("the agent stands still meanwhile")


def test_a_source_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_source, "LISTEN_S", 0.2)
    assert check("mine:quiet")[1]["first sample"] == "fail none in 0.2 s"


def test_a_config_tells_the_options_and_what_the_engine_takes(tmp_path: Path) -> None:
    job = '[jobs.side]\nmodel = "small.npz"\nsource = "mine:mixed"\npolicy = {use = "mine:rule", limit = 2}\n'
    file = write_agent(tmp_path, jobs=job)
    code, found = check("mine:mixed", "--config", str(file))
    assert (code, found["form"]) == (1, "fail yields float32[1], float32[2], the engine takes float32[1]")
    code, found = check("mine:rule", "--config", str(file))
    assert (code, found["kind"]) == (0, "ok policy")
    code, found = check("mine:shown", "--config", str(file))
    assert found["config"] == f"fail no job of {file} names 'mine:shown' as its source, policy, engine, sink"
    file.write_text(file.read_text().replace("limit = 2", "height = 2"))
    _, found = check("mine:rule", "--config", str(file))
    assert found["options"].endswith("got an unexpected keyword argument 'height'")


def test_a_policy_of_a_job_that_mines_first_is_shown_samples(tmp_path: Path) -> None:
    job = '[jobs.side]\nmodel = "small.npz"\npolicy = "mine:rule"\norder = "mining-then-inference"\n'
    code, found = check("mine:rule", "--config", str(write_agent(tmp_path, jobs=job)))
    assert (code, found["zeros"]) == (0, "ok hard: always")
    assert "NaN" not in found


def test_a_person_reads_a_line_for_each_check_with_the_solution_below() -> None:
    done = commands.agent("check-plugin", "mine:two", "--kind", "policy")
    assert done.stdout.splitlines() == [
        "ok    import",
        "ok    kind       policy",
        "fail  signature  the rule: missing a required argument: 'more'",
        "                 -> let the rule take one argument",
    ]
    assert done.returncode == 1
