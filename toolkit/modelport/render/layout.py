"""The blocks from which every HTML view is built: one look, one style sheet."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from modelport.render.markup import Html, join, tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelport.render.facts import Fact

_PAGE = "margin:0 auto;max-width:60rem;padding:16px;color-scheme:light dark"


@cache
def style() -> Html:
    """Return the style sheet as an element; its rules reach only what `fragment` wraps."""
    return Html(f"<style>{files(__package__).joinpath('style.css').read_text()}</style>")


def fragment(label: str, *parts: Html | None) -> Html:
    """Wrap parts in a self-contained block that a screen reader announces as `label`."""
    return tag("section", style(), *parts, class_="modelport", aria_label=label)


def page(title: str, body: Html) -> Html:
    """Return a whole HTML document around a fragment."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
    )
    return join(
        [Html("<!doctype html>\n"), tag("html", head, tag("body", body, style=_PAGE), lang="en")]
    )


def part(title: str, *content: Html | None, note: str = "") -> Html:
    """Return a titled part. No h1 to h6: a notebook's table of contents would list them."""
    heading = tag("span", title, role="heading", aria_level="3")
    aside = tag("span", note, class_="mp-soft") if note else None
    return tag("div", tag("div", heading, aside, class_="mp-title"), *content, class_="mp-part")


def facts(pairs: Iterable[Fact]) -> Html:
    """Return (name, value) pairs in two aligned columns."""
    cells = (cell for name, value in pairs for cell in (tag("dt", name), tag("dd", value)))
    return tag("dl", *cells, class_="mp-facts")


def folded(summary: str, *content: Html) -> Html:
    """Return content behind a line that opens it."""
    return tag("details", tag("summary", summary), *content)


def table(header: Iterable[str], rows: Iterable[Html], label: str) -> Html:
    """Return a table that scrolls within itself where the notebook is too narrow."""
    heads = (tag("th", text, scope="col") for text in header)
    whole = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), aria_label=label)
    return tag("div", whole, class_="mp-wide")


def row(first: str, *cells: str | None) -> Html:
    """Return a table row: a row header, then cells; markup passes, None is an empty cell."""
    rest = (cell if _is_cell(cell) else tag("td", cell) for cell in cells)
    return tag("tr", tag("th", first, scope="row"), *rest)


def _is_cell(cell: str | None) -> bool:
    return isinstance(cell, Html) and cell.startswith("<td")


def passed(ok: bool, text: str) -> Html:  # noqa: FBT001 - a verdict, not a switch
    """Return a verdict with a mark that does not rest on colour alone."""
    if ok:
        return tag("span", tag("span", "✓", class_="mp-good"), f" {text}")
    return tag("b", f"✗ {text}", class_="mp-bad")
