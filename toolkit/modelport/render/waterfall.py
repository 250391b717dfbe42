"""From the base value to the output, one feature after the other: what a waterfall plot shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.render import figures
from modelport.render.axis import Axis, typeset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelport.reports import RowExplanation

_SHOWN = 10  # steps; the rest is one step more
_DIGITS = 3


@dataclass(frozen=True)
class Step:
    """One feature's part: it moves the output from `start` to `end`.

    `shown` is the row's own value of the feature; empty where the step stands for several.
    """

    name: str
    shown: str
    start: float
    end: float
    moved: str

    @property
    def rises(self) -> bool:
        """Whether the feature raises the output."""
        return self.end >= self.start

    @property
    def what(self) -> str:
        """The feature with its value: `age = 42`."""
        return f"{self.name} = {self.shown}" if self.shown else self.name


@dataclass(frozen=True)
class Waterfall:
    """The steps of one row, the largest first, with texts that add up to the shown digits."""

    steps: tuple[Step, ...]
    base: float
    output: float
    base_text: str
    output_text: str
    axis: Axis


def waterfall(features: Sequence[str], row: RowExplanation) -> Waterfall:
    """Lay out one row's SHAP values, given in the order of `features`."""
    order = sorted(range(len(row.values)), key=lambda place: -abs(row.values[place]))
    # A last step for a single feature would be as long as the feature's own.
    shown = order if len(order) <= _SHOWN + 1 else order[:_SHOWN]
    parts = [(features[i], row.shown[i], row.values[i]) for i in shown]
    left = order[len(shown) :]
    if left:
        rest = math.fsum(row.values[i] for i in left)
        parts.append((figures.count(len(left), "other feature"), "", rest))
    ends = [row.base_value]
    for _, _, value in parts:
        ends.append(ends[-1] + value)
    decimals = _decimals([value for _, _, value in parts])
    steps = (
        Step(name, text, start, end, typeset(f"{value:+,.{decimals}f}"))
        for (name, text, value), start, end in zip(parts, ends[:-1], ends[1:], strict=True)
    )
    return Waterfall(
        steps=tuple(steps),
        base=row.base_value,
        output=row.output_value,
        base_text=typeset(f"{row.base_value:,.{decimals}f}"),
        output_text=typeset(f"{row.output_value:,.{decimals}f}"),
        axis=Axis.around([*ends, row.output_value]),
    )


def _decimals(values: Sequence[float]) -> int:
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return max(0, _DIGITS - 1 - math.floor(math.log10(largest))) if largest else _DIGITS
