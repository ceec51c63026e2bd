"""The books close in many worlds, a world can be lived again, and no part of the protocol can be left out."""

from collections.abc import Iterator

import pytest
from msgspec import structs

from tests.simulation.checks import Result
from tests.simulation.plan import Plan
from tests.simulation.world import run

SMALL = Plan(agents=12, samples=8)


@pytest.mark.parametrize("first", range(0, 120, 15))
def test_nothing_is_lost_and_nothing_happens_twice(first: int) -> None:
    for seed in range(first, first + 15):
        result = run(seed, Plan(agents=20))
        assert result.ok, (seed, result.problems)
        assert result.samples > 0


def test_a_world_is_reproduced_by_its_seed() -> None:
    assert run(7, SMALL) == run(7, SMALL)
    assert run(7, SMALL).digest != run(8, SMALL).digest


def _first_wrong(plan: Plan) -> Iterator[Result]:
    yield from (result for result in (run(seed, plan) for seed in range(20)) if not result.ok)


def test_without_deduplication_effects_happen_twice() -> None:
    assert next(_first_wrong(structs.replace(SMALL, without_deduplication=True))).duplicated > 0


def test_without_low_the_receiver_remembers_for_ever() -> None:
    wrong = next(_first_wrong(structs.replace(SMALL, without_low=True, samples=40)))
    assert any("remembers" in problem for problem in wrong.problems)


def test_without_receipts_samples_are_lost() -> None:
    assert next(_first_wrong(structs.replace(SMALL, without_receipts=True))).lost > 0


def test_without_the_ratchet_nodes_go_back_to_older_states() -> None:
    wrong = next(_first_wrong(structs.replace(SMALL, without_ratchet=True, policies=8)))
    assert any("went back to" in problem for problem in wrong.problems)


def test_without_its_epoch_a_stolen_key_outruns_the_root() -> None:
    wrong = next(_first_wrong(structs.replace(SMALL, without_epoch=True, rooted=1.0, thefts=6.0)))
    assert any("runs policy" in problem for problem in wrong.problems)
