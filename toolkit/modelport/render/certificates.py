"""What a certificate says, in words: one source for the notebook and the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import figures

if TYPE_CHECKING:
    from modelport.render.facts import Fact
    from modelport.reports import Certificate, Coverage, DifferingRow
    from modelport.reports.certificate import Cause

HEADER = ("row", "why", "native", "converted", "difference", "inputs")
_CAUSES: dict[Cause, str] = {
    "tie": "a tie of the native model",
    "rounding": "float32 rounding",
    "unexplained": "unexplained",
}


def certificate_facts(certificate: Certificate) -> tuple[Fact, ...]:
    """Return the certificate as (name, value) pairs."""
    by_origin = ", ".join(f"{number:,} {origin}" for origin, number in certificate.rows.items())
    facts = (
        ("rows compared", _with(f"{certificate.rows_compared:,}", by_origin)),
        ("label flips", f"{certificate.label_flips:,}"),
        ("outside tolerance", _explained(certificate)),
        ("largest difference", figures.difference(certificate.max_abs_difference)),
        ("99.9th percentile", figures.difference(certificate.p999_abs_difference)),
        ("largest relative", figures.difference(certificate.max_rel_difference)),
        ("visited", _visited(certificate.coverage)),
        ("tolerance", _tolerance(certificate)),
        ("batch sizes", ", ".join(str(size) for size in certificate.batch_sizes)),
    )
    return tuple(fact for fact in facts if fact[1])


def shown_rows(certificate: Certificate) -> tuple[DifferingRow, ...]:
    """Return the rows worth a look: those that differ most, then the labels that flipped."""
    worst = certificate.worst
    known = {(one.origin, one.row) for one in worst}
    return (*worst, *(one for one in certificate.flips if (one.origin, one.row) not in known))


def cells(one: DifferingRow) -> tuple[str, ...]:
    """Return a row's cells, under `HEADER`."""
    return (
        f"{one.origin} {one.row}",
        _CAUSES[one.cause] if one.cause else "within tolerance",
        one.native,
        one.converted,
        figures.difference(one.difference),
        one.inputs,
    )


def _explained(certificate: Certificate) -> str:
    """Say how many rows differ, and what explains them."""
    causes: tuple[Cause, ...] = ("unexplained", "rounding", "tie")
    found = ((cause, certificate.explained.get(cause, 0)) for cause in causes)
    said = [f"{count:,} {_CAUSES[cause]}" for cause, count in found if count]
    if not said:
        return "none"
    fault = f"; at fault: {certificate.fault}" if certificate.fault else ""
    return " · ".join(said) + fault


def _visited(coverage: Coverage) -> str:
    """Say what of trees and encoders some row reached."""
    trees = figures.count(coverage.trees, "tree")
    parts = (
        (coverage.leaves_visited, coverage.leaves, f"leaves of {trees}"),
        (coverage.thresholds_tried, coverage.thresholds, "thresholds on both sides"),
        (coverage.categories_visited, coverage.categories, "categories"),
    )
    return " · ".join(
        f"all {total:,} {what}" if done == total else f"{done:,} of {total:,} {what}"
        for done, total, what in parts
        if total
    )


def _tolerance(certificate: Certificate) -> str:
    """Return the bound of a difference, as numpy's `isclose` adds it up."""
    absolute = figures.difference(certificate.tolerance_abs)
    relative = figures.difference(certificate.tolerance_rel)
    bound = f"{absolute} + {relative} {figures.TIMES} |native|"
    return f"{bound}: {certificate.tolerance_reason}" if certificate.tolerance_reason else bound


def _with(value: str, detail: str) -> str:
    return f"{value} ({detail})" if detail else value
