"""SHAP values for the terminal: bars of blocks, legible without colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group as Stack
from rich.table import Table
from rich.text import Text

from modelport.render import facts, figures
from modelport.render.waterfall import Step, Waterfall, waterfall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from modelport.reports import Explanation, Feature, RowExplanation

_BAR = 24  # columns of the longest bar: fits 80 beside a feature's name
_NAME = 32
_AXIS = 30  # columns of a waterfall's axis: fits 80 beside a feature and its value
_FEATURE = 38


def explanation_renderable(explanation: Explanation) -> RenderableType:
    """Return the most important features as bars, or why there are none."""
    if not explanation.explained:
        return _text(f"not explained: {explanation.reason or 'no reason given'}")
    rest = facts.rest_of_features(explanation)
    basis = facts.joined(facts.explanation_facts(explanation))
    notes = [_text(line, "dim") for line in (rest, basis) if line]
    if explanation.images:
        return Stack(_text("superpixels: their plot is in the HTML report"), *notes)
    return Stack(_bars(facts.top_features(explanation)), *notes)


def _bars(features: Sequence[Feature]) -> Table:
    largest = max((one.importance for one in features), default=0.0) or 1.0
    grid = Table.grid(padding=(0, 1))
    grid.add_column(max_width=_NAME, no_wrap=True, overflow="ellipsis")
    grid.add_column(min_width=_BAR, style="blue", no_wrap=True)
    grid.add_column(justify="right")
    for one in features:
        value = figures.significant(one.importance)
        grid.add_row(_text(one.name), figures.bar(one.importance / largest, _BAR), value)
    return grid


def waterfall_renderable(
    features: Sequence[str], row: RowExplanation, output: str = ""
) -> RenderableType:
    """Return one row's SHAP values as a waterfall: from the base value to the model's output.

    Args:
        features: Names in the order of the row's values.
        row: What is shown.
        output: What the model's output is, such as `probability of malignant`.
    """
    found = waterfall(features, row)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(max_width=_FEATURE, overflow="fold")
    grid.add_column(width=_AXIS, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(_text("base value", "bold"), _mark(found, found.base), found.base_text)
    for step in found.steps:
        grid.add_row(_text(step.what), _bar(found, step), step.moved)
    grid.add_row(_text("output", "bold"), _mark(found, found.output), found.output_text)
    residual = f"additivity residual {figures.difference(row.residual)}"
    return Stack(grid, _text(" · ".join(filter(None, (output, residual))), "dim"))


def _text(value: str, style: str = "") -> Text:
    return Text(figures.printable(value), style)


def _bar(found: Waterfall, step: Step) -> Text:
    first, last = sorted((_column(found, step.start), _column(found, step.end)))
    length = max(1, last - first)
    block, style = ("█", "dark_orange") if step.rises else ("▒", "blue")
    return Text(" " * min(first, _AXIS - length) + block * length, style)


def _mark(found: Waterfall, value: float) -> Text:
    return Text(" " * min(_column(found, value), _AXIS - 1) + "│", "bold")


def _column(found: Waterfall, value: float) -> int:
    return round(found.axis.at(value) / 100 * _AXIS)
