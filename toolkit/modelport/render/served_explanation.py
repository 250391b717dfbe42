"""Why a live service answers as it does: a waterfall for each row, the first few in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import figures
from modelport.render.html_explanation import waterfall_html
from modelport.render.layout import folded, fragment, part
from modelport.render.markup import tag
from modelport.render.terminal_explanation import waterfall_renderable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelport.reports import ServedExplanation

_SHOWN = 10


def served_html(explanation: ServedExplanation) -> str:
    """Return the rows' waterfalls, the first one open."""
    first, *others = (
        (
            f"Row {row.row}: {output} {figures.significant(row.output_value)}",
            waterfall_html(explanation.features, row, output),
        )
        for row, output in zip(explanation.rows[:_SHOWN], explanation.outputs, strict=False)
    )
    title, waterfall = first
    more = _more(explanation)
    return fragment(
        f"Why {explanation.service} answers so",
        part(title, waterfall, note=_basis(explanation)),
        part("Other rows", *(folded(*other) for other in others)) if others else None,
        tag("div", more, class_="mp-part mp-soft") if more else None,
    )


def served_renderable(explanation: ServedExplanation) -> RenderableType:
    """Return the rows' waterfalls, one below the other."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = []
    for row, output in zip(explanation.rows[:_SHOWN], explanation.outputs, strict=False):
        lines += [
            Text(f"Row {row.row}", "bold"),
            waterfall_renderable(explanation.features, row, output),
            Text(),
        ]
    notes = filter(None, (_more(explanation), _basis(explanation)))
    return Group(*lines, *(Text(note, "dim") for note in notes))


def _basis(explanation: ServedExplanation) -> str:
    rows = figures.count(explanation.background_rows, "background row")
    return f"SHAP values ({explanation.method}) of {explanation.service}, {rows}"


def _more(explanation: ServedExplanation) -> str:
    left = len(explanation.rows) - _SHOWN
    return f"{figures.count(left, 'more row')}: see `.frame()`" if left > 0 else ""
