"""The registry: names, versions, digests and stages, and what is said when nobody is called so."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.models import registry
from cloud_hub.models.compare import compare, fits
from cloud_hub.models.registry import BadEntry, Entry, Lineage, Metric, Model, UnknownModel
from cloud_hub.store.folder import opened
from cloud_hub.store.schema import migrate
from messages.models import Classification, Description, Input, Regression

DESCRIPTION = Description(format="npz", input=Input(shape=(8, 8)), output=Classification(classes=("0", "1")))


def entry(name: str = "digits", digest: str = "a", **more: object) -> Entry:
    whole = digest.ljust(64, "0")
    return Entry(**{"name": name, "digest": whole, "size": 10, "description": DESCRIPTION, **more})  # type: ignore[arg-type]


@pytest.fixture
def tables(tmp_path: Path):
    with opened(tmp_path) as database:
        yield database.connection


def add(tables: sqlite3.Connection, name: str = "digits", digest: str = "a", **more: object) -> Model:
    return registry.add(tables, entry(name, digest, **more), 5)[0]


def test_versions_count_up_for_each_name_and_the_same_file_is_the_same_version(tables: sqlite3.Connection) -> None:
    first, new = registry.add(tables, entry(lineage=Lineage(job="digits", parent="f" * 64)), 5)
    again, known = registry.add(tables, entry(metrics=(Metric("test", "accuracy", 0.9),)), 6)
    assert (new, known) == (True, False)
    assert (again.version, again.created_at, again.lineage.job) == (1, 5, "digits")
    assert again.metrics == (Metric("test", "accuracy", 0.9),)
    assert again.description == DESCRIPTION
    assert add(tables, digest="b").version == 2
    assert add(tables, "other", "b").version == 1
    assert registry.digests(tables) == {first.digest, "b".ljust(64, "0")}


def test_a_model_is_found_by_name_version_stage_and_digest(tables: sqlite3.Connection) -> None:
    first, second = add(tables, digest="abcdef01"), add(tables, digest="b")
    registry.promote(tables, first, "champion", 7)
    for reference, version in [
        ("digits", 2),
        ("digits:1", 1),
        ("digits@champion", 1),
        ("abcdef01", 1),
        (second.digest, 2),
    ]:
        assert registry.find(tables, reference).version == version
    assert registry.find(tables, "digits:1").stages == ("champion",)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("none", "model 'none': there is none; there are digits"),
        ("digits:7", "digits has versions 1, 2; stages: champion"),
        ("digits@candidate", "digits has versions 1, 2; stages: champion"),
        ("abcdef0", "there is none"),
        ("abcdef01", "several digests begin so"),
        ("digits:x", "say NAME, NAME:VERSION, NAME@STAGE or a digest"),
        ("", "say NAME"),
        ("a@b@c", "say NAME"),
    ],
)
def test_who_is_not_there_is_said(tables: sqlite3.Connection, reference: str, said: str) -> None:
    add(tables, digest="abcdef011")
    registry.promote(tables, add(tables, digest="abcdef012"), "champion", 7)
    with pytest.raises(UnknownModel, match=said):
        registry.find(tables, reference)


def test_a_stage_moves_and_its_history_stays(tables: sqlite3.Connection) -> None:
    first, second = add(tables), add(tables, digest="b")
    assert registry.promote(tables, first, "champion", 1) is None
    had = registry.promote(tables, second, "champion", 2)
    assert had is not None
    assert had.version == 1
    registry.promote(tables, second, "champion", 3)
    registry.promote(tables, second, "candidate", 4)
    assert registry.find(tables, "digits:2").stages == ("candidate", "champion")
    assert [model.version for model in registry.listed(tables, stage="champion")] == [2]
    had = registry.vacate(tables, "digits", "champion", 5)
    assert had is not None
    assert had.version == 2
    moves = [(move.at, move.stage, move.version) for move in registry.history(tables, "digits")]
    assert moves == [(5, "champion", None), (4, "candidate", 2), (2, "champion", 2), (1, "champion", 1)]
    with pytest.raises(UnknownModel, match="stages: candidate"):
        registry.find(tables, "digits@champion")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"name": "a/b"}, "name 'a/b'"),
        ({"name": ""}, "name ''"),
        ({"note": "x" * 501}, "note"),
        ({"lineage": Lineage(code="x" * 501)}, "lineage.code"),
        ({"metrics": (Metric("test", "accuracy", float("nan")),)}, "metrics\\[0\\].value"),
    ],
)
def test_what_cannot_be_written_down_names_its_field(
    tables: sqlite3.Connection, bad: dict[str, object], said: str
) -> None:
    with pytest.raises(BadEntry, match=said):
        registry.add(tables, entry(**bad), 5)  # type: ignore[arg-type]
    assert registry.listed(tables) == []
    with pytest.raises(BadEntry, match="stage 'x y'"):
        registry.promote(tables, add(tables), "x y", 1)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3) | st.none()), max_size=20))
def test_a_stage_is_what_it_was_given_last(moves: list[tuple[str, int | None]]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    models = {number: add(connection, digest=str(number)) for number in (1, 2, 3)}
    now: dict[str, int | None] = {}
    for at, (stage, number) in enumerate(moves):
        had = registry.vacate(connection, "digits", stage, at) if number is None else registry.promote(
            connection, models[number], stage, at
        )  # fmt: skip
        assert (had.version if had else None) == now.get(stage)
        now[stage] = number
    for stage, number in now.items():
        assert [model.version for model in registry.listed(connection, stage=stage)] == [number] * (number is not None)


def test_figures_are_compared_on_the_same_data_only(tables: sqlite3.Connection) -> None:
    first = add(tables, metrics=(Metric("test", "accuracy", 0.9), Metric("old", "accuracy", 0.5)))
    second = add(tables, digest="b", size=30, metrics=(Metric("test", "accuracy", 0.95),))
    lines = {line.what: line for line in compare(first, second)}
    assert lines["accuracy on test"].change == pytest.approx(0.05)
    assert (lines["accuracy on old"].second, lines["accuracy on old"].change) == (None, None)
    assert lines["bytes"].change == 20
    assert set(lines) == {"accuracy on test", "accuracy on old", "bytes", "digest"}
    assert fits(first, second)
    assert not fits(
        first, add(tables, "price", description=Description(format="npz", input=DESCRIPTION.input, output=Regression()))
    )
