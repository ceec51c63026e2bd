"""How well the offload policy chooses, and what choosing costs."""

from scripts.benches import Part

PARTS: dict[str, Part] = {}
