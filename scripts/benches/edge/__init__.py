"""What the agent costs on its device."""

from scripts.benches import Part
from scripts.benches.edge import cost, memory

PARTS: dict[str, Part] = {
    "import": cost.import_time,
    "infer": cost.infer,
    "start": cost.start,
    "rss": memory.resident,
}
