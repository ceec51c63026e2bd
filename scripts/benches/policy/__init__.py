"""How well the offload policy chooses, and what choosing costs."""

from scripts.benches import Part
from scripts.benches.policy import accuracy, decide, quality, stream

PARTS: dict[str, Part] = {
    "accuracy": accuracy.accuracy,
    "quality": quality.quality,
    "decide": decide.decide,
    "budget": stream.budget,
    "shift": stream.shift,
}
