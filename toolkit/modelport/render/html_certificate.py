"""A certificate as HTML: part of the release report, or on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import certificates
from modelport.render.layout import facts as fact_list
from modelport.render.layout import folded, fragment, part, passed, row, table
from modelport.render.markup import Html, join, tag

if TYPE_CHECKING:
    from modelport.reports import Certificate, DifferingRow


def certificate_html(certificate: Certificate) -> str:
    """Return a certificate as one self-contained fragment, for light and dark themes."""
    tone = "mp-good" if certificate.passed else "mp-bad"
    verdict = tag("b", certificate.verdict.capitalize(), class_=tone)
    heading = tag(
        "div", verdict, " · certificate", class_="mp-outcome", role="heading", aria_level="2"
    )
    reason = tag("div", certificate.reason)
    facts = tag("div", fact_list(certificates.certificate_facts(certificate)), class_="mp-part")
    rows = _rows(certificate)
    return fragment(
        "Certificate",
        tag("div", heading, reason, class_=f"mp-head {tone}"),
        facts,
        part("Rows that differ", rows) if rows else None,
    )


def certificate_part(certificate: Certificate | None) -> Html | None:
    """Return the certificate as a part of a report."""
    if certificate is None:
        return None
    if certificate.verdict == "not applicable":
        return part("Certificate", tag("p", certificate.reason), note="not applicable")
    verdict = passed(ok=certificate.passed, text=certificate.verdict)
    reason = tag("p", join([verdict, f": {certificate.reason}"]))
    rows = _rows(certificate)
    return part(
        "Certificate",
        reason,
        fact_list(certificates.certificate_facts(certificate)),
        folded("Rows that differ most", rows) if rows else None,
    )


def _rows(certificate: Certificate) -> Html | None:
    shown = certificates.shown_rows(certificate)
    if not shown:
        return None
    lines = (line for one in shown for line in _row(one))
    whole = table(certificates.HEADER, lines, "Rows that differ most, and labels that flipped")
    return tag("div", whole, class_="mp-differing")


def _row(one: DifferingRow) -> tuple[Html, Html]:
    """Return a row's figures, and below them the values that it consists of."""
    inputs = tag(
        "tr", tag("td", one.inputs, colspan=str(len(certificates.HEADER))), class_="mp-inputs"
    )
    return row(*certificates.cells(one)), inputs
