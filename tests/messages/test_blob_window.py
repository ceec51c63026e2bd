"""The window on simulated lines: full use of the line, and a queue that a command can stand."""

from collections import deque
from random import Random

import pytest

from messages.blobs.window import FIRST, LEAST, MOST, TARGET_S, Window


class Line:
    """A line with a rate and a delay, down which ranges come one after the other."""

    def __init__(self, rate: float, delay: float) -> None:
        self.rate, self.delay = rate, delay
        self.window = Window(Random(1))
        self.now = self.free = 0.0
        self.queues: list[float] = []

    def run(self, seconds: float) -> float:
        """Fetch without an end; the share of the line that was used."""
        under_way: deque[tuple[float, float, int]] = deque()
        end, carried = self.now + seconds, 0
        while self.now < end:
            while length := self.window.length():
                self.window.sent(length)
                begin = max(self.free, self.now + self.delay / 2.0)
                self.queues.append(begin - self.now - self.delay / 2.0)
                self.free = begin + length / self.rate
                under_way.append((self.now, self.free + self.delay / 2.0, length))
            asked, self.now, length = under_way.popleft()
            carried += length
            self.window.took(length, self.now - asked, self.now)
        while under_way:
            self.window.dropped(under_way.popleft()[2])
        return carried / (self.rate * seconds)


@pytest.mark.parametrize("delay", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("mbit", [1, 20, 100])
def test_the_line_is_used_and_its_queue_stays_short(mbit: int, delay: float) -> None:
    line = Line(mbit * 125_000.0, delay)
    line.run(5.0)
    line.queues.clear()
    assert line.run(100.0) > 0.7
    queues = sorted(line.queues)
    assert queues[len(queues) // 2] < 1.2 * TARGET_S + LEAST / line.rate
    assert queues[int(len(queues) * 0.99)] < 3.0 * TARGET_S + LEAST / line.rate


def test_a_fast_line_gets_the_whole_window() -> None:
    line = Line(400e6, 0.0005)
    line.run(1.0)
    assert line.window.size == MOST


def test_a_line_that_becomes_slow_gets_less() -> None:
    line = Line(400e6, 0.0005)
    line.run(1.0)
    line.rate = 250_000.0
    line.run(60.0)
    assert line.window.size <= 2 * FIRST


def test_one_range_is_always_allowed() -> None:
    window = Window(Random(1))
    for _ in range(50):
        window.lost()
    assert window.size == LEAST
    assert window.length() == LEAST
    window.sent(LEAST)
    assert window.length() == 0
    window.dropped(LEAST)
    assert window.length() == LEAST
