"""What a sample costs on the wire, by encoding, beside Sedna's JSON of nested lists."""

from scripts.benches import Part
from scripts.benches.encoding import sizes

PARTS: dict[str, Part] = {"frame": sizes.frame, "digits": sizes.digits}
