"""Benchmarks: each module here is an area, and its `PARTS` are what can be measured in it.

A part takes a plan and yields rows. Its baseline is a real program or a bare library call that runs beside
ours in the same run, never a constant.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured number. `value` and `baseline_value` are in `unit`; `data` says what was measured on, in words.

    `budget` bounds the ratio to the baseline, or the value itself where `budget_of` says so; None is no budget. Seeds
    were `seed` to `seed + runs - 1`.
    """

    area: str
    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"]
    data: str
    seed: int
    runs: int
    baseline: str | None = None
    baseline_value: float | None = None
    budget: float | None = None
    budget_of: Literal["ratio", "value"] = field(default="ratio", repr=False)

    @property
    def ratio(self) -> float | None:
        """Ours by the baseline's; None without a baseline."""
        return self.value / self.baseline_value if self.baseline_value else None

    @property
    def ok(self) -> bool:
        """Whether the budget is kept. A bound on a ratio that could not be measured is not."""
        if self.budget is None:
            return True
        measured = self.value if self.budget_of == "value" else self.ratio
        if measured is None:
            return False
        return measured <= self.budget if self.better == "lower" else measured >= self.budget

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in the JSON file."""
        fields = asdict(self) | {"ratio": self.ratio, "ok": self.ok}
        del fields["budget_of"]
        return fields

    def bound(self) -> str:
        """The budget in words."""
        if self.budget is None:
            return ""
        sign = "<=" if self.better == "lower" else ">="
        return f"{sign} {self.budget:g} {self.unit if self.budget_of == 'value' else 'x baseline'}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for: the first seed, and how long each side is measured where time decides, in seconds."""

    seed: int = 0
    seconds: float = 60.0


Part: TypeAlias = Callable[[Plan], Iterator[Row]]
