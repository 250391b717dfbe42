"""A certificate for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group as Stack
from rich.text import Text

from modelport.render import certificates
from modelport.render.terminal_layout import columns, pairs, text, titled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelport.reports import Certificate

_MOST = 10  # rows shown on their own
_WIDE = 28


def certificate_renderable(certificate: Certificate, what: str) -> RenderableType:
    """Return a certificate with its rows; `what` says of which conversion."""
    found = certificate_part(certificate, what)
    shown = certificates.shown_rows(certificate)[:_MOST] if not certificate.passed else ()
    if not shown:
        return found
    table = columns(*certificates.HEADER[:-1])
    for one in shown:
        table.add_row(*(text(_cut(cell)) for cell in certificates.cells(one)[:-1]))
    inputs = [text(f"{one.origin} {one.row}: {one.inputs}", "dim") for one in shown[:1]]
    return Stack(found, titled("Rows that differ", Stack(table, *inputs)))


def certificate_part(certificate: Certificate, note: str = "") -> RenderableType:
    """Return a certificate as a part of a report."""
    if certificate.verdict == "not applicable":
        return titled("Certificate", text(certificate.reason), "not applicable")
    mark, style = ("✓", "green") if certificate.passed else ("✗", "bold red")
    facts = pairs(certificates.certificate_facts(certificate))
    verdict = Text.assemble(
        (f"{mark} {certificate.verdict}", style), ": ", text(certificate.reason)
    )
    return titled("Certificate", Stack(verdict, facts), note)


def _cut(cell: str) -> str:
    return cell if len(cell) <= _WIDE else cell[: _WIDE - 1] + "…"
