"""The certificate: whether the converted model answers as the native one does.

Both answer the same rows: the data's, the input example's, and rows made to break it. Every
output is compared element by element. A row outside the tolerance is looked into: a label that
the native model itself was undecided on, or an answer that it gives to a row next to this one,
is explained; any other difference fails the certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from modelport.config import settings
from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES
from modelport.errors import DataError
from modelport.parity import rounding, walks
from modelport.parity import rows as tables
from modelport.parity.compare import (
    FLOAT32,
    Answers,
    Comparison,
    Reach,
    Tolerance,
    compare,
    reaches,
)
from modelport.parity.levels import plainly_seen
from modelport.parity.probes import Probe, edge_cases, synthetic, taken
from modelport.reports import Certificate, Coverage, DifferingRow

if TYPE_CHECKING:
    from modelport.convert.base import Model, NativeModel
    from modelport.convert.trees import Grove

_BATCH_SIZES = (1, 2, 7, 256)
_SHOWN = 5
_KEPT_FLIPS = 50
_PARTS = 128  # into which made-up rows are split where the native model refuses some
_REAL = ("data", "input example")
_BREAKING = ("extremes", "missing", "categories", "unseen categories", "trees")
_USUAL = (LABEL, PROBABILITIES, PREDICTION)
_EXCUSED = 0.01  # of rows like the data's, so many may differ by ties or rounding

_NO_ROWS = "there is no row to certify the conversion on"
_GIVE_ROWS = "pass --data, or log the model with an input example"


@dataclass(frozen=True)
class _Compared:
    """One probe with what both models answered, and why its differing rows differ."""

    probe: Probe
    native: Answers
    converted: Answers
    seen: Comparison
    rounded: np.ndarray[Any, Any]
    refusal: str

    @property
    def unexplained(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.seen.failed & ~self.rounded)

    @property
    def excused(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.seen.tied | self.rounded)

    def cause(self, row: int) -> Any:
        if self.seen.tied[row]:
            return "tie"
        if not self.seen.failed[row]:
            return None
        return "rounding" if self.rounded[row] else "unexplained"


def certify(
    native: NativeModel,
    converted: Model,
    probes: Sequence[Probe],
    *,
    tolerance: Tolerance = FLOAT32,
    precision: str = "float32",
) -> Certificate:
    """Compare both models on the given rows, on rows made to break it, and by batch size.

    Args:
        native: The model that is right.
        converted: The model that is to answer the same.
        probes: Real rows: the data's, the input example's; else made-up ones. The first of
            them is what further rows are made from.
        tolerance: How far answers may be off.
        precision: The type that the converted model computes in.

    Raises:
        DataError: There is no row to compare on, or the native model refuses the rows.
    """
    given = [_answered(native, _bounded(probe)) for probe in probes if len(probe.rows)]
    if not given:
        raise DataError(_NO_ROWS, _GIVE_ROWS)
    base = given[0].rows
    groves = [] if isinstance(base, np.ndarray) else native.groves()
    categories = _by_column(native.categories(), base)
    made, coverage = _made(native, groves, base, given, categories)
    rows = [*given, *made]
    grain = rounding.Grain(
        tolerance,
        reaches([_answers(one) for one in rows if one.origin not in _BREAKING]),
        set(categories),
        {} if plainly_seen(groves, base) else rounding.magnitudes(base),
    )
    compared = [_compare(native, converted, probe, grain) for probe in rows]
    sizes = _batch_sizes(base)
    uneven = [
        size
        for size in sizes
        # Quantisation scales by the batch: such answers do depend on it, within the tolerance.
        if not tolerance.excused and not _batch_agrees(converted, compared[0], size, grain.reach)
    ]
    return _certificate(compared, sizes, uneven, coverage, grain, precision)


def _by_column(known: Mapping[Any, Sequence[Any]], base: Any) -> dict[Any, Sequence[Any]]:
    """Return what encoders know by the columns of the rows, which need not be named by text."""
    if isinstance(base, np.ndarray):
        return {}
    columns = {str(name): name for name in base.columns} | dict(enumerate(base.columns))
    return {columns[name]: values for name, values in known.items() if name in columns}


def _answers(probe: Probe) -> Answers:
    return probe.native or {}


def _made(
    native: NativeModel,
    groves: Sequence[Grove],
    base: Any,
    given: Sequence[Probe],
    categories: Mapping[Any, Sequence[Any]],
) -> tuple[list[Probe], Coverage]:
    """Make the rows that no data hold, and say what they visit."""
    limits = settings().limits
    count = min(limits.synthetic_rows, _affordable(base) // 2)
    made = [taken(native, "synthetic", synthetic(base, count), _PARTS)]
    made += edge_cases(native, base, categories)
    if isinstance(base, np.ndarray):
        return made, Coverage()
    known = [*given, *made]
    walked = walks.walk(
        groves,
        base,
        [probe.rows for probe in known if len(probe.rows)],
        categories,
        limits.certified_thresholds,
    )
    if walked.rows:
        made.append(taken(native, "trees", tables.join(walked.rows), _PARTS))
    coverage = Coverage(
        trees=walked.trees,
        leaves=walked.leaves,
        leaves_visited=walked.visited,
        thresholds=walked.thresholds,
        thresholds_tried=walked.tried,
        categories=sum(len(known) for known in categories.values()),
        categories_visited=_visited_categories(known, categories),
    )
    return [probe for probe in made if len(probe.rows)], coverage


def _affordable(rows: Any) -> int:
    """Return how many rows of this kind may be compared: of big tensors fewer."""
    limits = settings().limits
    if not isinstance(rows, np.ndarray):
        return limits.certified_rows
    return min(limits.certified_rows, max(8, limits.certified_values // 2 // int(rows[0].size)))


def _bounded(probe: Probe) -> Probe:
    few = tables.take(probe.rows, slice(0, _affordable(probe.rows)))
    return Probe(probe.origin, tables.plainly_typed(few))


def _answered(native: NativeModel, probe: Probe) -> Probe:
    """Return given rows with what the native model answers."""
    try:
        return Probe(probe.origin, probe.rows, native.answer(probe.rows))
    except Exception as error:  # a model refuses with whatever its library raises
        raise DataError(
            f"the model refuses the {probe.origin} rows ({error})",
            "give rows as the model was trained on",
        ) from error


def _batch_sizes(base: Any) -> tuple[int, ...]:
    return tuple(size for size in _BATCH_SIZES if size <= max(7, _affordable(base)))


def _visited_categories(probes: Sequence[Probe], categories: Mapping[Any, Sequence[Any]]) -> int:
    visited = 0
    for name, known in categories.items():
        found = {value for probe in probes if name in probe.rows for value in probe.rows[name]}
        gap = any(value != value or value is None for value in found)
        visited += sum(
            value in found or (gap and (value is None or value != value)) for value in known
        )
    return visited


def _compare(
    native: NativeModel, converted: Model, probe: Probe, grain: rounding.Grain
) -> _Compared:
    expected = _answers(probe)
    given, refusal = _asked(converted, probe.rows)
    classes = getattr(native, "classes", None)
    seen = compare(expected, given, classes, grain.tolerance, grain.reach)
    rounded = np.zeros(len(probe.rows), dtype=bool)
    differing = np.flatnonzero(seen.failed)
    if len(differing) and given:
        rounded[differing] = rounding.explained(
            native,
            tables.take(probe.rows, differing),
            {name: np.asarray(values)[differing] for name, values in given.items()},
            grain,
        )
    return _Compared(probe, expected, given, seen, rounded, refusal)


def _asked(converted: Model, rows: Any) -> tuple[Answers, str]:
    """Return what the converted model answers; nothing, and why, where it refuses."""
    try:
        answers = converted.answer(rows)
        short = [name for name, values in answers.items() if len(values) != len(rows)]
        if not short:
            return answers, ""
        return {}, f"{len(rows)} rows get {len(answers[short[0]])} values of {short[0]}"
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own
        return {}, next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _batch_agrees(converted: Model, one: _Compared, size: int, reach: Mapping[str, Reach]) -> bool:
    """Tell whether answers stay the same in batches of a size."""
    if not one.converted or one.seen.failed.all():
        return True  # it may not even answer in the native model's shape
    batch = tables.repeat(one.probe.rows, size)
    places = np.arange(size) % len(one.probe.rows)
    whole = {name: np.asarray(values)[places] for name, values in one.converted.items()}
    answers, _ = _asked(converted, batch)
    return not compare(whole, answers, reach=reach).failed.any()


def _certificate(
    compared: Sequence[_Compared],
    sizes: tuple[int, ...],
    uneven: Sequence[int],
    coverage: Coverage,
    grain: rounding.Grain,
    precision: str,
) -> Certificate:
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
    compared: Sequence[_Compared],
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


def _too_often(compared: Sequence[_Compared], share: float) -> str:
    """Say if more rows than a share differ by ties or rounding; of those like the data's alone.

    Made-up rows between the data's meet ties more often than callers do.
    """
    real = [one for one in compared if one.probe.origin in _REAL]
    alike = [one for one in compared if one.probe.origin in (*_REAL, "synthetic")]
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


def _worst(compared: Sequence[_Compared]) -> tuple[DifferingRow, ...]:
    """Return the rows that differ most: the unexplained ones first."""
    found = [
        (not one.unexplained[row], -float(one.seen.absolute[row]), _shown(one, int(row)))
        for one in compared
        for row in np.lexsort((-one.seen.absolute, ~one.seen.flipped, ~one.unexplained))[:_SHOWN]
        if one.seen.absolute[row] > 0 or one.seen.flipped[row]
    ]
    found.sort(key=lambda entry: entry[:2])
    return tuple(row for *_, row in found[:_SHOWN])


def _flips(compared: Sequence[_Compared]) -> tuple[DifferingRow, ...]:
    """Return rows with another label, the unexplained first, then those of real data."""
    found = [
        (not one.unexplained[row], one.probe.origin not in _REAL, _shown(one, int(row)))
        for one in compared
        for row in np.flatnonzero(one.seen.flipped)[: 20 * _KEPT_FLIPS]
    ]
    found.sort(key=lambda entry: entry[:2])
    return tuple(row for *_, row in found[:_KEPT_FLIPS])


def _shown(one: _Compared, row: int) -> DifferingRow:
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
