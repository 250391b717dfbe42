"""The certificate: whether the converted model answers as the native one does.

Both answer the same rows: the data's, the input example's, and rows made to break it. Every
output is compared element by element. A row outside the tolerance is looked into: a label that
the native model itself was undecided on, or an answer that it gives to a row next to this one,
is explained; any other difference fails the certificate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.config import settings
from modelport.errors import DataError
from modelport.parity import rounding, walks
from modelport.parity import rows as tables
from modelport.parity.compare import (
    FLOAT32,
    Answers,
    Reach,
    Tolerance,
    compare,
    reaches,
)
from modelport.parity.levels import plainly_seen
from modelport.parity.probes import Probe, edge_cases, synthetic, taken
from modelport.parity.verdict import Compared, certificate
from modelport.reports import Certificate, Coverage

if TYPE_CHECKING:
    from modelport.convert.base import Model, NativeModel
    from modelport.convert.trees import Grove

_BATCH_SIZES = (1, 2, 7, 256)
_PARTS = 128  # into which made-up rows are split where the native model refuses some
_BREAKING = ("extremes", "missing", "categories", "unseen categories", "trees")

_NO_ROWS = "there is no row to certify the conversion on"
_GIVE_ROWS = "pass --data, or log the model with an input example"


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
    return certificate(compared, sizes, uneven, coverage, grain, precision)


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
) -> Compared:
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
    return Compared(probe, expected, given, seen, rounded, refusal)


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


def _batch_agrees(converted: Model, one: Compared, size: int, reach: Mapping[str, Reach]) -> bool:
    """Tell whether answers stay the same in batches of a size."""
    if not one.converted or one.seen.failed.all():
        return True  # it may not even answer in the native model's shape
    batch = tables.repeat(one.probe.rows, size)
    places = np.arange(size) % len(one.probe.rows)
    whole = {name: np.asarray(values)[places] for name, values in one.converted.items()}
    answers, _ = _asked(converted, batch)
    return not compare(whole, answers, reach=reach).failed.any()
