"""A linear axis for plots whose width the page decides: places are percentages of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MARGIN = 0.03  # of the values' range, left free at either end


@dataclass(frozen=True)
class Axis:
    """The range from `low` to `high`, with low < high."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> Axis:
        """Return an axis that holds every value, with a margin."""
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        spread = (high - low) or abs(high) or 1.0
        return cls(low - _MARGIN * spread, high + _MARGIN * spread)

    def at(self, value: float) -> float:
        """Return where `value` lies, in percent of the axis from its low end."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self, most: int = 6) -> tuple[tuple[float, str], ...]:
        """Return round values on the axis with their labels, `most` of them at the most."""
        rough = (self.high - self.low) / most
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = magnitude * next(one for one in _STEPS if one * magnitude >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple((place * step, _label(place * step, step)) for place in range(first, last + 1))


def _label(value: float, step: float) -> str:
    exponent = math.floor(math.log10(step))
    if not -5 < exponent < 7:
        return typeset(f"{value:.1e}")
    # 2.5 has one decimal more than its magnitude says.
    decimals = max(0, (round(step / 10.0**exponent, 6) == 2.5) - exponent)
    return typeset(f"{value:,.{decimals}f}")


def typeset(text: str) -> str:
    """Return a number with a true minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")
