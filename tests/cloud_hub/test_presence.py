"""Who is there, whatever old copies of a status still come."""

import pytest

from cloud_hub.ingest.presence import MISSED_BEATS, Change, Presence
from tests.support.nodes import status


def test_birth_heartbeat_and_death() -> None:
    presence = Presence()
    assert presence.take("cam-1", status(session=5), 0.0) is Change.BORN
    assert presence.online("cam-1")
    assert presence.take("cam-1", status(session=5), 30.0) is Change.BEAT
    assert presence.take("cam-1", status("offline", session=5), 31.0) is Change.DIED
    assert not presence.online("cam-1")
    assert presence.take("cam-1", status(session=6), 40.0) is Change.BORN
    assert presence.nodes_online == 1


def test_a_new_session_is_a_birth_even_without_a_death() -> None:
    presence = Presence()
    presence.take("cam-1", status(session=5), 0.0)
    assert presence.take("cam-1", status(session=6), 1.0) is Change.BORN


@pytest.mark.parametrize("state", ["online", "offline"])
def test_an_older_session_changes_nothing(state: str) -> None:
    presence = Presence()
    presence.take("cam-1", status(session=6), 0.0)
    assert presence.take("cam-1", status(state, session=5), 1.0) is Change.STALE
    assert presence.online("cam-1")


def test_the_late_will_of_a_cut_connection_does_not_take_the_new_one_down() -> None:
    presence = Presence()
    changes = [
        presence.take("cam-1", status(state, session=s), 0.0)
        for state, s in [("online", 5), ("online", 6), ("offline", 5)]
    ]
    assert changes == [Change.BORN, Change.BORN, Change.STALE]
    assert presence.online("cam-1")


def test_a_copy_of_an_ended_sessions_birth_does_not_bring_the_node_back() -> None:
    presence = Presence()
    presence.take("cam-1", status(session=5), 0.0)
    presence.take("cam-1", status("offline", session=5), 1.0)
    assert presence.take("cam-1", status(session=5), 2.0) is Change.STALE
    assert presence.take("cam-1", status("offline", session=5), 3.0) is Change.STALE
    assert not presence.online("cam-1")


def test_a_death_whose_birth_was_lost_counts() -> None:
    presence = Presence()
    presence.take("cam-1", status(session=5), 0.0)
    assert presence.take("cam-1", status("offline", session=6), 1.0) is Change.DIED
    assert presence.take("cam-2", status("offline", session=1), 1.0) is Change.DIED


def test_missed_beats_make_a_node_offline_once_and_its_next_beat_brings_it_back() -> None:
    presence = Presence()
    presence.take("cam-1", status(session=5, beat_s=10.0), 0.0)
    limit = MISSED_BEATS * 10.0
    assert presence.overdue(limit) == []
    assert presence.overdue(limit + 0.1) == ["cam-1"]
    assert presence.overdue(limit + 0.2) == []
    assert presence.take("cam-1", status(session=5), limit + 1.0) is Change.BORN


def test_any_message_shows_that_a_node_lives() -> None:
    presence = Presence()
    presence.take("cam-1", status(beat_s=10.0), 0.0)
    presence.heard("cam-1", 25.0)
    presence.heard("never-seen", 25.0)
    assert (presence.overdue(50.0), presence.overdue(55.1)) == ([], ["cam-1"])


@pytest.mark.parametrize("beat_s", [0.0, -5.0, float("nan")])
def test_a_nonsense_heartbeat_counts_as_one_second(beat_s: float) -> None:
    presence = Presence()
    presence.take("cam-1", status(beat_s=beat_s), 0.0)
    assert (presence.overdue(2.9), presence.overdue(3.1)) == ([], ["cam-1"])


def test_a_known_node_counts_as_away_but_its_session_counts() -> None:
    presence = Presence()
    presence.know("cam-1", status(session=5), 0.0)
    assert not presence.online("cam-1")
    assert presence.overdue(1e6) == []
    assert presence.take("cam-1", status(session=4), 1.0) is Change.STALE
    assert presence.take("cam-1", status(session=5), 1.0) is Change.BORN
