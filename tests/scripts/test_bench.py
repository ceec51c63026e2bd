"""The bench harness: a row says whether its budget is kept, and machines get what people see."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.benches import Plan, Row
from scripts.benches.__main__ import chosen, known_parts, main
from scripts.benches.delivery import ingest
from scripts.benches.edge import memory


def row(**changes: Any) -> Row:
    fields: dict[str, Any] = {
        "area": "delivery",
        "name": "ingest/200B",
        "value": 60.0,
        "unit": "1/s",
        "better": "higher",
        "data": "zeros",
        "seed": 3,
        "runs": 2,
        "baseline": "a bare subscriber",
        "baseline_value": 100.0,
        "budget": 0.5,
    }
    return Row(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "ok", "bound"),
    [
        ({}, True, ">= 0.5 x baseline"),
        ({"value": 40.0}, False, ">= 0.5 x baseline"),
        ({"better": "lower"}, False, "<= 0.5 x baseline"),
        ({"better": "lower", "budget": 70.0, "budget_of": "value", "unit": "ms"}, True, "<= 70 ms"),
        ({"better": "lower", "budget": 50.0, "budget_of": "value", "unit": "ms"}, False, "<= 50 ms"),
        ({"baseline": None, "baseline_value": None}, False, ">= 0.5 x baseline"),
        ({"budget": None}, True, ""),
    ],
)
def test_a_row_judges_itself(changes: dict[str, Any], ok: bool, bound: str) -> None:
    assert row(**changes).ok is ok
    assert row(**changes).bound() == bound


def test_areas_and_parts_are_chosen_by_name() -> None:
    parts = known_parts()
    assert "edge/import" in parts
    assert chosen([], parts) == parts
    assert list(chosen(["edge/import"], parts)) == ["edge/import"]
    assert "edge/import" in chosen(["edge"], parts)
    assert str(chosen(["nowhere"], parts)).startswith("no area 'nowhere'; there are ")


@pytest.mark.parametrize(("value", "code"), [(60.0, 0), (10.0, 1)])
def test_the_command_writes_json_and_fails_on_a_missed_budget(
    value: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(plan: Plan) -> Iterator[Row]:
        yield row(value=value, seed=plan.seed)

    monkeypatch.setattr("scripts.benches.__main__.known_parts", lambda: {"delivery/ingest": part})
    assert main(["delivery", "--seed", "7", "--json", str(tmp_path / "rows.json")]) == code
    assert ("MISSED" in capsys.readouterr().out) is bool(code)
    (written,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert set(written) == {
        *("area", "name", "value", "unit", "baseline", "baseline_value", "ratio", "budget", "better", "ok"),
        *("data", "seed", "runs"),
    }
    assert (written["seed"], written["ratio"], written["ok"]) == (7, value / 100.0, not code)


def test_an_unknown_area_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["nowhere"])
    assert stopped.value.code == 2
    assert "no area 'nowhere'" in capsys.readouterr().err


def test_real_programs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "TURNS", 1)
    monkeypatch.setattr(memory, "RUNS", 1)
    parts = known_parts()
    wanted = ("delivery/ingest/200B", "delivery/roundtrip/p50", "edge/rss", "edge/in_out")
    rows = [found for name in wanted for found in parts[name](Plan(seed=5, seconds=0.5))]
    assert [found.name for found in rows] == ["ingest/200B", "roundtrip/p50", "rss/tls", "rss/tls+numpy", "in_out/p50"]
    assert all(found.value > 0.0 and found.baseline_value and found.seed == 5 for found in rows)
    assert "3 commits at the agent, 2 at the hub" in rows[1].data
