"""A certificate as HTML: part of the release report, or on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import certificates
from modelport.render.layout import facts as fact_list
from modelport.render.layout import folded, fragment, part, passed, row, table
from modelport.render.markup import Html, tag

if TYPE_CHECKING:
    from modelport.reports import Certificate


def certificate_html(certificate: Certificate, what: str) -> str:
    """Return a certificate as one self-contained fragment; `what` says of which conversion."""
    return fragment(f"Certificate of {what}", certificate_part(certificate, what))


def certificate_part(certificate: Certificate | None, note: str = "") -> Html | None:
    """Return the certificate as a part of a report."""
    if certificate is None:
        return None
    if certificate.verdict == "not applicable":
        return part("Certificate", tag("p", certificate.reason), note="not applicable")
    verdict = passed(ok=certificate.passed, text=certificate.verdict)
    reason = tag("p", tag("b", certificate.reason)) if not certificate.passed else None
    shown = fact_list([("verdict", verdict), *certificates.certificate_facts(certificate)])
    return part("Certificate", reason, shown, _rows(certificate), note=note)


def _rows(certificate: Certificate) -> Html | None:
    shown = certificates.shown_rows(certificate)
    if not shown:
        return None
    lines = (row(*certificates.cells(one)) for one in shown)
    title = (
        "Rows that differ most, and labels that flipped"
        if certificate.flips
        else ("Rows that differ most")
    )
    return folded(title, table(certificates.HEADER, lines, title))
