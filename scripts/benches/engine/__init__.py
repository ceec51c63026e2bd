"""What our engines cost beyond the bare runtime, and what each form of a model is worth."""

from scripts.benches import Part
from scripts.benches.engine import overhead

PARTS: dict[str, Part] = {"digits": overhead.digits, "mnist": overhead.mnist, "photos": overhead.photos}
