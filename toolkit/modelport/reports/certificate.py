"""Whether a converted model answers as the native one does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelport.reports.base import Record, Report


class WorstRow(Record):
    """A row on which native and converted model differ most."""

    row: int
    origin: str
    native: str
    converted: str
    difference: float


class Certificate(Report):
    """Step 3: the parity record of a conversion.

    Differences compare every numeric output, element by element. A label flip is a row
    whose label differs. The relative difference leaves out native values of at most
    `tolerance_abs`. `rows` counts by origin (data, input example, synthetic).
    """

    verdict: Literal["passed", "failed", "not applicable"]
    reason: str
    rows: dict[str, int] = Field(default_factory=dict)
    max_abs_difference: float = 0.0
    max_rel_difference: float = 0.0
    p999_abs_difference: float = 0.0
    label_flips: int = 0
    batch_sizes: tuple[int, ...] = ()
    tolerance_abs: float = 0.0
    tolerance_rel: float = 0.0
    tolerance_reason: str = ""
    worst: tuple[WorstRow, ...] = ()

    @property
    def passed(self) -> bool:
        """True unless native and converted model were seen to differ."""
        return self.verdict != "failed"

    @property
    def rows_compared(self) -> int:
        """All rows that both models answered."""
        return sum(self.rows.values())
