"""The verdict on what two models answered: what is excused, what is at fault, what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES
from modelport.parity import rounding
from modelport.parity import rows as tables
from modelport.reports import Certificate, Coverage, DifferingRow

if TYPE_CHECKING:
    from modelport.parity.compare import Answers, Comparison
    from modelport.parity.probes import Probe

_SHOWN = 5
_KEPT_FLIPS = 50
_USUAL = (LABEL, PROBABILITIES, PREDICTION)
_EXCUSED = 0.01  # of rows like the data's, so many may differ by ties or rounding
REAL = ("data", "input example")


@dataclass(frozen=True)
class Compared:
    """One probe with what both models answered, and why its differing rows differ."""

    probe: Probe
    native: Answers
    converted: Answers
    seen: Comparison
    rounded: np.ndarray[Any, Any]
    refusal: str

    @property
    def unexplained(self) -> np.ndarray[Any, Any]:
        """Rows outside the tolerance for no good reason; shape [n]."""
        return np.asarray(self.seen.failed & ~self.rounded)

    @property
    def excused(self) -> np.ndarray[Any, Any]:
        """Rows that differ for a reason: a tie, or rounding; shape [n]."""
        return np.asarray(self.seen.tied | self.rounded)

    def cause(self, row: int) -> Any:
        """Return what explains a row's difference; None where it is within the tolerance."""
        if self.seen.tied[row]:
            return "tie"
        if not self.seen.failed[row]:
            return None
        return "rounding" if self.rounded[row] else "unexplained"


def certificate(
    compared: Sequence[Compared],
    sizes: tuple[int, ...],
    uneven: Sequence[int],
    coverage: Coverage,
    grain: rounding.Grain,
    precision: str,
) -> Certificate:
    """Write the certificate of what was compared.

    Args:
        compared: Every probe with its answers; the first is of rows like the data's.
        sizes: Batch sizes that were tried.
        uneven: Those among them in which the converted model answered otherwise.
        coverage: What the rows visited of the model.
        grain: How finely answers can be told apart.
        precision: The type that the converted model computes in.
    """
    tolerance = grain.tolerance
    rows: dict[str, int] = {}
    for one in compared:
        rows[one.probe.origin] = rows.get(one.probe.origin, 0) + len(one.probe.rows)
    causes: dict[Any, int] = {
        "tie": _count(one.seen.tied for one in compared),
        "rounding": _count(one.rounded for one in compared),
        "unexplained": _count(one.unexplained for one in compared),
    }
    fault, reason = _judged(compared, uneven, causes, grain)
    absolute = np.concatenate([one.seen.absolute[~one.excused] for one in compared])
    relative = np.concatenate([one.seen.relative[~one.excused] for one in compared])
    return Certificate(
        verdict="failed" if fault else "passed",
        reason=reason,
        precision=precision,
        rows=rows,
        max_abs_difference=float(absolute.max(initial=0.0)),
        max_rel_difference=float(relative.max(initial=0.0)),
        p999_abs_difference=_quantile(absolute, 0.999),
        p999_rel_difference=_quantile(relative, 0.999),
        label_flips=_count(one.seen.flipped for one in compared),
        flips=_flips(compared),
        explained={cause: count for cause, count in causes.items() if count},
        fault=fault,
        coverage=coverage,
        batch_sizes=sizes,
        tolerance_abs=tolerance.absolute,
        tolerance_rel=tolerance.relative,
        tolerance_reason=tolerance.reason,
        worst=_worst(compared),
    )


def _judged(
    compared: Sequence[Compared],
    uneven: Sequence[int],
    causes: Mapping[Any, int],
    grain: rounding.Grain,
) -> tuple[Literal["float32", "converter"] | None, str]:
    """Return what is at fault, if anything, and the verdict's reason in one line."""
    tolerance = grain.tolerance
    total = sum(len(one.probe.rows) for one in compared)
    refused = next((one for one in compared if one.refusal), None)
    if refused:
        origin = refused.probe.origin
        return "converter", f"the converted model refuses {origin} rows ({refused.refusal})"
    if causes["unexplained"] > tolerance.excused * total:
        blurred = next((n for n, one in grain.reach.items() if not one.is_told(tolerance)), None)
        if blurred:
            return "float32", (
                f"float32 cannot tell apart what the model answers as {blurred}: values of up to "
                f"{grain.reach[blurred].largest:,.6g} that differ by too little"
            )
        return "converter", (
            f"{causes['unexplained']:,} of {total:,} rows are answered differently, "
            "which no rounding explains"
        )
    if uneven:
        return "converter", f"the converted model answers differently in a batch of {uneven[0]}"
    often = _too_often(compared, max(_EXCUSED, tolerance.excused))
    return ("float32", often) if often else (None, _praise(total, causes))


def _too_often(compared: Sequence[Compared], share: float) -> str:
    """Say if more rows than a share differ by ties or rounding; of those like the data's alone.

    Made-up rows between the data's meet ties more often than callers do.
    """
    real = [one for one in compared if one.probe.origin in REAL]
    alike = [one for one in compared if one.probe.origin in (*REAL, "synthetic")]
    for ones, masks in ((real, [o.excused for o in real]), (alike, [o.rounded for o in alike])):
        count, differing = sum(len(one.probe.rows) for one in ones), _count(masks)
        if differing > max(1.0, share * count):
            return (
                f"{differing:,} of {count:,} rows like the data's are answered differently: "
                "the model decides by less than float32 can tell"
            )
    return ""


def _praise(total: int, causes: Mapping[Any, int]) -> str:
    told = [
        (causes["tie"], "got another label where the native model holds two equally likely"),
        (causes["rounding"], "lie closer to a boundary than float32 can tell"),
        (causes["unexplained"], "lie outside"),
    ]
    said = "; ".join(f"{count:,} {what}" for count, what in told if count)
    if said:
        return f"all {total:,} rows agree within the tolerance but for these: {said}"
    return f"all {total:,} rows are answered the same"


def _quantile(values: np.ndarray[Any, Any], share: float) -> float:
    return float(np.quantile(values, share, method="higher")) if len(values) else 0.0


def _count(masks: Iterable[np.ndarray[Any, Any]]) -> int:
    return int(sum(mask.sum() for mask in masks))


def _worst(compared: Sequence[Compared]) -> tuple[DifferingRow, ...]:
    """Return the rows that differ most: the unexplained ones first."""
    found = [
        (not one.unexplained[row], -float(one.seen.absolute[row]), _shown(one, int(row)))
        for one in compared
        for row in np.lexsort((-one.seen.absolute, ~one.seen.flipped, ~one.unexplained))[:_SHOWN]
        if one.seen.absolute[row] > 0 or one.seen.flipped[row]
    ]
    found.sort(key=lambda entry: entry[:2])
    return tuple(row for *_, row in found[:_SHOWN])


def _flips(compared: Sequence[Compared]) -> tuple[DifferingRow, ...]:
    """Return rows with another label, the unexplained first, then those of real data."""
    found = [
        (not one.unexplained[row], one.probe.origin not in REAL, _shown(one, int(row)))
        for one in compared
        for row in np.flatnonzero(one.seen.flipped)[: 20 * _KEPT_FLIPS]
    ]
    found.sort(key=lambda entry: entry[:2])
    return tuple(row for *_, row in found[:_KEPT_FLIPS])


def _shown(one: Compared, row: int) -> DifferingRow:
    rows = one.probe.rows
    real = one.probe.origin == "data" and not isinstance(rows, np.ndarray)
    return DifferingRow(
        row=int(rows.index[row]) if real else row,
        origin=one.probe.origin,
        inputs=tables.show(rows, row)[:500],
        native=_said(one.native, row),
        converted=_said(one.converted, row) if one.converted else one.refusal,
        difference=float(one.seen.absolute[row]),
        flipped=bool(one.seen.flipped[row]),
        cause=one.cause(row),
    )


def _said(answers: Answers, row: int) -> str:
    """Return a row's answer in a line: `2, [0 0.4 0.6]`; the usual outputs need no name."""
    shown = []
    for name, values in answers.items():
        said = _short(values[row]) if row < len(values) else f"of shape {list(values.shape)}"
        shown.append(said if name in _USUAL else f"{name} {said}")
    return ", ".join(shown)[:200]


def _short(value: Any) -> str:
    """Return a label as it is, and numbers with four digits."""
    array = np.asarray(value)
    if array.size == 1:
        only = array.item()
        return f"{only:.4g}" if isinstance(only, float) else str(only)
    return np.array2string(
        array.ravel(), formatter={"float_kind": "{:.4g}".format}, threshold=10, max_line_width=200
    )
