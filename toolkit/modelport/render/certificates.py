"""What a certificate says, in words: one source for the notebook and the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import figures

if TYPE_CHECKING:
    from modelport.render.facts import Fact
    from modelport.reports import Certificate, Coverage, DifferingRow
    from modelport.reports.certificate import Cause

HEADER = ("row", "cause", "native", "converted", "difference")
_CAUSES: dict[Cause, str] = {
    "unexplained": "unexplained",
    "rounding": "explained by float32 rounding",
    "tie": "explained by a tie of the native model",
}
_FAULTS = {"converter": "the converter", "float32": "float32, which this model is too fine for"}


def certificate_facts(certificate: Certificate) -> tuple[Fact, ...]:
    """Return what the verdict rests on, as (name, value) pairs."""
    by_origin = ", ".join(f"{number:,} {origin}" for origin, number in certificate.rows.items())
    narrowed = "" if certificate.precision == "float32" else certificate.precision
    facts = (
        ("at fault", _FAULTS.get(certificate.fault or "", "")),
        ("computed in", narrowed),
        ("rows compared", _with(f"{certificate.rows_compared:,}", by_origin)),
        ("outside tolerance", _causes(certificate)),
        ("label flips", _flips(certificate)),
        ("largest difference", _largest(certificate)),
        ("99.9th percentile", figures.difference(certificate.p999_abs_difference)),
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


def name(one: DifferingRow) -> str:
    """Return where a row comes from, with its number there."""
    return f"{one.origin} {one.row}"


def cells(one: DifferingRow) -> tuple[str, ...]:
    """Return a row's cells, under `HEADER`."""
    return (
        name(one),
        one.cause or figures.NOTHING,
        one.native,
        one.converted,
        figures.difference(one.difference),
    )


def _causes(certificate: Certificate) -> str:
    """Say how many rows differ, and what explains them."""
    found = ((certificate.explained.get(cause, 0), told) for cause, told in _CAUSES.items())
    return " · ".join(f"{count:,} {told}" for count, told in found if count) or "none"


def _flips(certificate: Certificate) -> str:
    flips = certificate.label_flips
    explained = flips and not certificate.explained.get("unexplained")
    return f"{flips:,}, all of them explained" if explained else f"{flips:,}"


def _largest(certificate: Certificate) -> str:
    absolute = figures.difference(certificate.max_abs_difference)
    relative = figures.difference(certificate.max_rel_difference)
    explained = {"rounding", "tie"} & certificate.explained.keys()
    rest = ", without the explained rows" if explained else ""
    return f"{absolute} (relative {relative}){rest}"


def _visited(coverage: Coverage) -> str:
    """Say what of trees and encoders some row reached."""
    trees = figures.count(coverage.trees, "tree")
    parts = (
        (coverage.leaves_visited, coverage.leaves, f"leaves of {trees}"),
        (coverage.thresholds_tried, coverage.thresholds, "thresholds from both sides"),
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
