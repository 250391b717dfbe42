"""Whether a converted model answers as the native one does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelport.reports.base import Record, Report

Cause = Literal["tie", "rounding", "unexplained"]


class DifferingRow(Record):
    """A row on which native and converted model differ.

    `row` counts within its origin. `cause` says what explains it: `tie` (the native model holds
    both labels equally likely), `rounding` (the native model gives the converted answer for a
    row that float32 cannot tell from this one) or `unexplained`; None is within the tolerance.
    """

    row: int
    origin: str
    inputs: str
    native: str
    converted: str
    difference: float
    flipped: bool = False
    cause: Cause | None = None


class Coverage(Record):
    """What of the model's structure some row has visited.

    `leaves` and `thresholds` count over all trees. A threshold is tried where rows lie next to
    it on both sides. `categories` are those that the model's encoders know.
    """

    trees: int = 0
    leaves: int = 0
    leaves_visited: int = 0
    thresholds: int = 0
    thresholds_tried: int = 0
    categories: int = 0
    categories_visited: int = 0


class Certificate(Report):
    """Step 3: the parity record of a conversion.

    Differences compare every numeric output, element by element, over all rows but those that a
    tie or rounding explains. A label flip is a row whose label differs; `flips` holds the first
    of them. The relative difference leaves out native values of at most `tolerance_abs`.

    `rows` counts by origin (data, input example, synthetic, extremes, missing, categories,
    unseen categories, trees). `explained` counts the differing rows by cause. `fault` says what
    a failed certificate is to be blamed on: float32 itself, or the converter.
    """

    verdict: Literal["passed", "failed", "not applicable"]
    reason: str
    precision: str = "float32"
    rows: dict[str, int] = Field(default_factory=dict)
    max_abs_difference: float = 0.0
    max_rel_difference: float = 0.0
    p999_abs_difference: float = 0.0
    p999_rel_difference: float = 0.0
    label_flips: int = 0
    flips: tuple[DifferingRow, ...] = ()
    explained: dict[Cause, int] = Field(default_factory=dict)
    fault: Literal["float32", "converter"] | None = None
    coverage: Coverage = Coverage()
    batch_sizes: tuple[int, ...] = ()
    tolerance_abs: float = 0.0
    tolerance_rel: float = 0.0
    tolerance_reason: str = ""
    worst: tuple[DifferingRow, ...] = ()

    @property
    def passed(self) -> bool:
        """True unless native and converted model were seen to differ."""
        return self.verdict != "failed"

    @property
    def rows_compared(self) -> int:
        """All rows that both models answered."""
        return sum(self.rows.values())
