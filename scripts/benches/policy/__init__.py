"""How well the offload policy chooses, and what choosing costs."""

from scripts.benches import Part
from scripts.benches.policy import decide, stream

PARTS: dict[str, Part] = {
    "decide": decide.decide,
    "budget": stream.budget,
    "shift": stream.shift,
}
