"""Cells under a header and sections of them, as kubectl prints them: plain lines, for pipes too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.render import figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelport.render.facts import Fact

_GAP = 3  # spaces between two columns, kubectl's own
_INDENT = "  "


@dataclass(frozen=True)
class Grid:
    """Rows of texts under a header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A titled part of a description: a grid, or (name, value) pairs."""

    title: str
    body: Grid | tuple[Fact, ...]


def grid_text(grid: Grid) -> str:
    """Return a grid as lines, columns aligned; none is ever folded."""
    return "\n".join(lines([grid.header, *grid.rows], widths(grid)))


def widths(grid: Grid) -> list[int]:
    """Return how wide each column has to be."""
    return [max(map(len, column)) for column in zip(grid.header, *grid.rows, strict=True)]


def lines(rows: Iterable[Sequence[str]], wide: Sequence[int]) -> list[str]:
    """Return rows as lines whose columns are at least so wide."""
    return [
        "".join(
            figures.printable(cell).ljust(w + _GAP) for cell, w in zip(row, wide, strict=True)
        ).rstrip()
        for row in rows
    ]


def sections_text(sections: Sequence[Section]) -> str:
    """Return sections as `kubectl describe` does: the first one's pairs stand without a title."""
    first, *others = sections
    parts = ["\n".join(_pairs(first.body))]
    for one in others:
        body = "\n".join(_INDENT + line for line in _body(one.body))
        parts.append(f"{one.title}:\n{body}" if body else f"{one.title}:  <none>")
    return "\n".join(parts)


def _body(body: Grid | tuple[Fact, ...]) -> list[str]:
    if isinstance(body, Grid):
        return grid_text(body).splitlines() if body.rows else []
    return _pairs(body)


def _pairs(body: Grid | tuple[Fact, ...]) -> list[str]:
    pairs = [(f"{name}:", value) for name, value in body] if isinstance(body, tuple) else []
    return lines(pairs, [max((len(name) for name, _ in pairs), default=0), 0])
