"""A certificate as HTML: part of the release report, or on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import certificates, figures
from modelport.render.layout import facts as fact_list
from modelport.render.layout import folded, fragment, part, passed, row, table
from modelport.render.markup import Html, join, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelport.reports import Certificate, DifferingRow

_OPEN = 5  # rows shown at once


def certificate_html(certificate: Certificate) -> str:
    """Return a certificate as one self-contained fragment, for light and dark themes."""
    facts = tag("div", fact_list(certificates.certificate_facts(certificate)), class_="mp-part")
    return fragment("Certificate", _head(certificate), facts, _rows_part(certificate))


def _head(certificate: Certificate) -> Html:
    tone = "mp-good" if certificate.passed else "mp-bad"
    verdict = tag("b", certificate.verdict, class_=tone)
    heading = tag(
        "div", "Certificate ", verdict, class_="mp-outcome", role="heading", aria_level="2"
    )
    return tag("div", heading, tag("div", certificate.reason), class_=f"mp-head {tone}")


def _rows_part(certificate: Certificate) -> Html | None:
    shown = certificates.shown_rows(certificate)
    if not shown:
        return None
    if not certificate.explained:
        return tag("div", folded("Rows that differ most", _rows(shown)), class_="mp-part")
    more = shown[_OPEN:]
    rest = folded(figures.count(len(more), "more row"), _rows(more)) if more else None
    return part("Rows that differ", _rows(shown[:_OPEN]), rest)


def certificate_part(certificate: Certificate | None) -> Html | None:
    """Return the certificate as a part of a report."""
    if certificate is None:
        return None
    if certificate.verdict == "not applicable":
        return part("Certificate", tag("p", certificate.reason), note="not applicable")
    verdict = passed(ok=certificate.passed, text=certificate.verdict)
    reason = tag("p", join([verdict, f": {certificate.reason}"]))
    shown = certificates.shown_rows(certificate)
    return part(
        "Certificate",
        reason,
        fact_list(certificates.certificate_facts(certificate)),
        folded("Rows that differ most", _rows(shown)) if shown else None,
    )


def _rows(shown: Sequence[DifferingRow]) -> Html:
    lines = (line for one in shown for line in _row(one))
    whole = table(certificates.HEADER, lines, "Rows that differ most, and labels that flipped")
    return tag("div", whole, class_="mp-differing")


def _row(one: DifferingRow) -> tuple[Html, Html]:
    """Return a row's figures, and below them the values that it consists of."""
    inputs = tag("td", one.inputs, colspan=str(len(certificates.HEADER)))
    return row(*certificates.cells(one)), tag("tr", inputs, class_="mp-inputs")
