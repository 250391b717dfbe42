"""Where the dots of a beeswarm plot lie: side by side where they would cover each other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.render import figures
from modelport.render.axis import Axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport.reports import Swarm

SHADES = 8  # steps from the lowest to the highest value's colour
_WIDE = 0.8  # percent of the axis: dots closer than this are stacked
_HIGH = 3.6  # pixels from a stacked dot to the next
_FREE = 3.0  # pixels above and below the stacks


@dataclass(frozen=True)
class Line:
    """One feature's dots as SVG paths by shade; None is the shade of text and missing values.

    A path moves to each dot and draws nothing there but the stroke's round cap. Coordinates are
    percent of the axis across and pixels down.
    """

    feature: str
    said: str
    paths: Mapping[int | None, str]


def beeswarm(swarms: Sequence[Swarm], height: float) -> tuple[list[Line], Axis]:
    """Lay out swarms in lines `height` pixels high, on one axis that holds zero."""
    axis = Axis.around([0.0, *(value for swarm in swarms for value in swarm.values)])
    return [_line(swarm, axis, height) for swarm in swarms], axis


def _line(swarm: Swarm, axis: Axis, height: float) -> Line:
    places = [axis.at(value) for value in swarm.values]
    stacks: dict[int, list[int]] = defaultdict(list)
    for dot, place in enumerate(places):
        stacks[round(place / _WIDE)].append(dot)
    most = max((len(stack) for stack in stacks.values()), default=1)
    gap = min(_HIGH, (height - 2 * _FREE) / max(1, most - 1))
    points: dict[int | None, list[str]] = defaultdict(list)
    for stack in stacks.values():
        # By shade within a stack: the colours stay together, and read from bottom to top.
        stack.sort(key=lambda dot: _order(swarm.shades[dot]))
        top = height / 2 + gap * (len(stack) - 1) / 2
        for level, dot in enumerate(stack):
            points[_step(swarm.shades[dot])].append(f"M{places[dot]:g} {top - gap * level:.1f}h0")
    low, high = min(swarm.values, default=0.0), max(swarm.values, default=0.0)
    said = f"{swarm.feature}: SHAP values from {figures.signed(low)} to {figures.signed(high)}"
    return Line(swarm.feature, said, {shade: "".join(dots) for shade, dots in points.items()})


def _order(shade: float | None) -> float:
    return -1.0 if shade is None else shade


def _step(shade: float | None) -> int | None:
    return None if shade is None else round(shade * SHADES)
