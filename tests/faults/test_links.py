"""Bad links between real processes: slow, torn into single bytes, and far."""

from pathlib import Path

import pytest

from tests.support.outings import all_final, outing, the_books_close
from tests.support.proxy import Direction

PACE = {"SKERRY_PACE__FIRST_S": "2", "SKERRY_PACE__LAST_S": "60"}
"""As it is when nobody sets it; the fleet's own is for fast links."""
PER_SAMPLE = 1000
"""Bytes that a sample may take on the way up, with receipts, reports and heartbeats: its own message is 250."""


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("way", "samples"),
    [(Direction(bytes_per_s=20_000 / 8), 40), (Direction(piece=1), 8), (Direction(latency_s=0.15), 300)],
    ids=["20 kbit a second", "1-byte writes", "300 ms round trip"],
)
async def test_over_a_bad_link_all_arrives_and_is_sent_hardly_more_than_once(
    tmp_path: Path, way: Direction, samples: int
) -> None:
    async with outing(tmp_path, count=samples, environment=PACE | {"SKERRY_BEAT_S": "5"}) as fleet:
        fleet.environment["hub"] = PACE
        link = fleet.links["device-1"]
        link.up = way
        link.down = Direction(way.latency_s, way.bytes_per_s, way.piece)
        await fleet.start("hub")
        await fleet.start("device-1")
        await all_final(fleet, samples, within_s=60)
        assert link.up.passed < PER_SAMPLE * samples
        await the_books_close(fleet, samples)
