"""Prometheus' text format."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

Labels = tuple[tuple[str, str], ...]


class Family(NamedTuple):
    """One metric: its name, what it counts, and a value for each set of labels."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    values: Mapping[Labels, float]


def render(families: Iterable[Family]) -> str:
    """The text format, version 0.0.4."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in family.values.items():
            inner = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(f"{family.name}{{{inner}}} {value:.17g}" if inner else f"{family.name} {value:.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
