"""Grids and sections as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render.grid import Grid
from modelport.render.layout import facts, fragment, part, passed, row, table
from modelport.render.markup import Html, link, tag
from modelport.render.services import NEITHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelport.render.grid import Section

_BAD = {"False", "Failed", "Warning", "error"}
_GOOD = {"True", "Ready"}


def grid_html(title: str, grid: Grid) -> str:
    """Return a grid as a table of the notebook."""
    return fragment(title, tag("div", _table(title, grid), class_="mp-part mp-words"))


def sections_html(title: str, sections: Sequence[Section]) -> str:
    """Return sections one after the other, each under its title."""
    return fragment(title, *(part(one.title, _body(one)) for one in sections))


def _body(section: Section) -> Html:
    if not isinstance(section.body, Grid):
        return facts(section.body)
    if not section.body.rows:
        return tag("div", "none", class_="mp-soft")
    return tag("div", _table(section.title, section.body), class_="mp-words")


def _table(title: str, grid: Grid) -> Html:
    rows = (row(first, *(_cell(text, first) for text in cells)) for first, *cells in grid.rows)
    return table(grid.header, rows, title)


def _cell(text: str, first: str) -> Html:
    content = link(text, text) if text.startswith("http") else tag("span", text)
    if text in _GOOD | _BAD and first not in NEITHER:
        content = passed(ok=text in _GOOD, text=text)
    # Words fold; names and numbers stay whole, and a table that is too wide for them scrolls.
    return tag("td", content, class_="mp-short" if " " not in text else None)
