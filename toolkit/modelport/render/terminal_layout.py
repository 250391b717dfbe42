"""What every view in the terminal is laid out with: titles, pairs, tables; and how it is shown."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.console import Group as Stack
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from modelport.render import facts, figures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType


def show(renderable: RenderableType, console: Console | None = None) -> None:
    """Print a view of ours; URLs and curl lines wider than the terminal stay one line.

    Plain text is never wrapped: a manifest stays YAML.
    """
    (console or Console()).print(renderable, crop=False, soft_wrap=isinstance(renderable, Text))


def as_text(renderable: RenderableType, width: int = 100) -> str:
    """Return a view of ours as plain text, `width` columns wide, for text/plain and logs."""
    # In a notebook, rich would show the text in the cell instead of handing it over.
    console = Console(
        file=StringIO(), width=width, color_system=None, force_terminal=False, force_jupyter=False
    )
    with console.capture() as captured:
        show(renderable, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def text(value: str, style: str = "") -> Text:
    """Return text that is never read as markup and carries no control characters."""
    return Text(figures.printable(value), style=style)


def whole(value: str, style: str = "") -> Text:
    """Return text that stays one line however narrow the terminal, so that it can be copied."""
    return Text(figures.printable(value), style=style, no_wrap=True, overflow="ignore")


def titled(title: str, body: RenderableType, note: str = "") -> RenderableType:
    """Return a part: its title, then its body, indented."""
    heading = Text.assemble(("\n" + title, "bold"), (f"  {note}" if note else "", "dim"))
    return Stack(heading, Padding(body, (0, 0, 0, 2)))


def pairs(facts_shown: Iterable[facts.Fact]) -> Table:
    """Return (name, value) pairs in two aligned columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in facts_shown:
        grid.add_row(text(name), text(value))
    return grid


def columns(*names: str) -> Table:
    """Return an empty table: the first column is for words, the others for figures."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for place, name in enumerate(names):
        table.add_column(text(name), justify="right" if place else "left", overflow="fold")
    return table
