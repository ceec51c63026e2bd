"""The log tells each event once, also when a link comes and goes all day."""

import logging

import pytest

from edge_agent.flaps import Flaps
from messages.host.logs import JournalFormatter, LineFormatter


def test_a_link_that_flaps_is_told_once_until_it_is_steady_again() -> None:
    flaps = Flaps(10.0)
    flaps.up(0.0)
    assert [flaps.is_news("connected"), flaps.is_news("cut"), flaps.is_news("connected")] == [True, True, False]
    flaps.down()
    flaps.look(100.0)
    flaps.up(101.0)
    flaps.look(105.0)
    assert not flaps.is_news("cut")
    flaps.look(112.0)
    assert flaps.is_news("cut")


def test_a_stranger_cannot_make_it_remember_without_end() -> None:
    flaps = Flaps(10.0)
    news = [number for number in range(5000) if flaps.is_news(f"line {number}")]
    assert 100 < len(news) < 2000


def test_every_line_of_a_traceback_has_its_priority() -> None:
    record = logging.LogRecord("edge_agent", logging.WARNING, "", 0, "one", None, (OSError, OSError("two"), None))
    assert JournalFormatter("%(message)s").format(record) == "<4>one\n<4>OSError: two"


@pytest.mark.parametrize("formatter", [LineFormatter, JournalFormatter])
def test_a_sender_cannot_forge_a_line_or_move_the_terminal(formatter: type[logging.Formatter]) -> None:
    text = "x.dtype is u\n<3>2026-01-01 ERROR fire\x1b[2J\r\x00"
    record = logging.LogRecord("edge_agent", logging.INFO, "", 0, text, None, None)
    assert formatter("%(message)s").format(record).endswith("x.dtype is u?<3>2026-01-01 ERROR fire?[2J??")
