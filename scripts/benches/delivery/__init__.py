"""What durable delivery costs: whole programs beside the barest that could do, on the same broker."""

from scripts.benches import Part
from scripts.benches.delivery import ingest, roundtrip

PARTS: dict[str, Part] = {
    "ingest/200B": ingest.small,
    "ingest/20KB": ingest.large,
    "roundtrip/p50": roundtrip.roundtrip,
}
