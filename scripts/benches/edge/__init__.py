"""What the agent costs on its device."""

from scripts.benches import Part
from scripts.benches.edge import apps, cost, memory

PARTS: dict[str, Part] = {
    "import": cost.import_time,
    "infer": cost.infer,
    "start": cost.start,
    "in_out": apps.in_out,
    "rss": memory.resident,
}
