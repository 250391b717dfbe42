"""A certificate for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group as Stack
from rich.panel import Panel
from rich.text import Text

from modelport.render import certificates
from modelport.render.terminal_layout import columns, pairs, text, titled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from modelport.render.facts import Fact
    from modelport.reports import Certificate, DifferingRow

_MOST = 5  # rows shown
_CUT = ("native", "converted")


def certificate_renderable(certificate: Certificate) -> RenderableType:
    """Return a certificate with the rows that differ."""
    head = Panel(_verdict(certificate), box=box.ROUNDED, border_style=_tone(certificate))
    facts = pairs(certificates.certificate_facts(certificate))
    return Stack(head, titled("What it rests on", facts), *_rows(certificate))


def certificate_part(certificate: Certificate) -> RenderableType:
    """Return a certificate as a part of a report; with rows where it failed."""
    if certificate.verdict == "not applicable":
        return titled("Certificate", text(certificate.reason), "not applicable")
    facts = pairs(certificates.certificate_facts(certificate))
    whole = titled("Certificate", Stack(_verdict(certificate), facts))
    return whole if certificate.passed else Stack(whole, *_rows(certificate))


def _verdict(certificate: Certificate) -> Text:
    mark = "✓" if certificate.passed else "✗"
    return Text.assemble(
        (f"{mark} {certificate.verdict}", f"bold {_tone(certificate)}"),
        ": ",
        text(certificate.reason),
    )


def _tone(certificate: Certificate) -> str:
    return "green" if certificate.passed else "red"


def _rows(certificate: Certificate) -> Iterator[RenderableType]:
    """Return the rows outside the tolerance: a line each, and the first of them whole."""
    outside = [one for one in certificates.shown_rows(certificate) if one.cause]
    if outside:
        shown = outside[:_MOST]
        table = Stack(_table(shown), Text(""), pairs(_whole(shown[0])))
        yield titled("Rows that differ", table)


def _table(shown: list[DifferingRow]) -> Table:
    """Return a line for each row: what does not fit of the answers is cut, and nothing else."""
    table = columns(*certificates.HEADER)
    for column, name in zip(table.columns, certificates.HEADER, strict=True):
        column.no_wrap = name not in _CUT
    for one in shown:
        table.add_row(*map(_on_one_line, certificates.cells(one)))
    return table


def _on_one_line(cell: str) -> Text:
    shown = text(cell)
    shown.no_wrap, shown.overflow = True, "ellipsis"
    return shown


def _whole(one: DifferingRow) -> tuple[Fact, ...]:
    """Return a row with all of its values, so that it can be tried again."""
    return (
        (certificates.name(one), one.inputs),
        ("native", one.native),
        ("converted", one.converted),
    )
