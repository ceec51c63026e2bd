"""When which node is due: what a heap says is what asking all of them would say."""

from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.ingest.wakes import Wakes

NODES = st.sampled_from("abc")
MOMENTS = st.integers(0, 5).map(float)
STEPS = st.lists(st.tuples(NODES, st.none() | MOMENTS) | MOMENTS, max_size=300)


@given(STEPS)
def test_the_earliest_and_the_due_are_those_of_everybodys_last_word(
    steps: list[tuple[str, float | None] | float],
) -> None:
    wakes, said = Wakes(), dict[str, float]()
    for step in steps:
        if isinstance(step, float):
            assert sorted(wakes.take(step)) == sorted(node for node, at in said.items() if at <= step)
            said = {node: at for node, at in said.items() if at > step}
        elif step[1] is None:
            wakes.put(*step)
            said.pop(step[0], None)
        else:
            wakes.put(*step)
            said[step[0]] = step[1]
        assert wakes.first() == min(said.values(), default=None)


def test_nodes_that_change_their_minds_take_no_more_memory() -> None:
    wakes = Wakes()
    for number in range(1000):
        wakes.put("a", 1000.0 - number)
    assert len(wakes._heap) < 100
    assert wakes.take(1.0) == ["a"]
