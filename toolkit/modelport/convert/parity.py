"""The certificate: whether the converted model answers as the native one does.

Both answer the same rows: the data's, the input example's, and made-up ones off the trodden
paths. Every output is compared element by element; a label must be the same, unless the
native model itself was undecided within the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.base import LABEL, PROBABILITIES, Model
from modelport.errors import DataError
from modelport.reports import Certificate, WorstRow

if TYPE_CHECKING:
    import pandas as pd

    from modelport.reports import Column

TOLERANCE_ABS = 1e-5
TOLERANCE_REL = 1e-4
_TOLERANCE_REASON = (
    "float32 carries 7 digits: sums over many trees or features agree to about 5 of them"
)
_BATCH_SIZES = (1, 2, 7, 256)
_WORST = 5
_INVENTED = {"integer", "long", "float", "double", "boolean"}

Answers = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Probe:
    """Rows to compare on, with where they come from."""

    origin: str
    rows: pd.DataFrame


@dataclass(frozen=True)
class Comparison:
    """What n rows showed; every array has shape [n].

    `beyond` is how far a row's worst element lies outside the tolerance (<= 0 is inside).
    """

    absolute: np.ndarray[Any, Any]
    relative: np.ndarray[Any, Any]
    beyond: np.ndarray[Any, Any]
    flipped: np.ndarray[Any, Any]
    undecided: np.ndarray[Any, Any]

    @property
    def failed(self) -> np.ndarray[Any, Any]:
        """Rows outside the tolerance, and label flips that no tie explains; shape [n]."""
        return np.asarray((self.beyond > 0) | (self.flipped & ~self.undecided))


def certify(native: Model, converted: Model, probes: Sequence[Probe]) -> Certificate:
    """Compare both models on every probe and at several batch sizes.

    Raises:
        DataError: There is no row to compare on, or the native model refuses the rows.
    """
    probes = [probe for probe in probes if len(probe.rows)]
    if not probes:
        raise DataError(
            "there is no row to certify the conversion on",
            "pass --data, or log the model with an input example",
        )
    compared = [_compare_probe(native, converted, probe) for probe in probes]
    batches = [_batches_agree(converted, probe, answers) for probe, _, answers, _ in compared]
    return _certificate(compared, batches_agree=all(batches))


def compare(native: Answers, converted: Answers, classes: Any = None) -> Comparison:
    """Compare two sets of answers on the same n rows.

    Outputs are matched by name; one that is missing, or has another shape, differs without
    bound, so it can never pass. Outputs of text are labels.

    Args:
        native: What is right: every output by name, each of shape [n] or [n, k].
        converted: What is compared with it.
        classes: The labels in the order of `probabilities`; with them, a flip between labels
            that the native model holds equally likely is told from any other.
    """
    rows = len(next(iter(native.values())))
    absolute = np.zeros(rows)
    relative = np.zeros(rows)
    beyond = np.full(rows, -np.inf)
    flipped = np.zeros(rows, dtype=bool)
    for name, expected in native.items():
        given = converted.get(name)
        if name == LABEL or np.asarray(expected).dtype.kind not in "biuf":
            flipped |= _labels_differ(expected, given)
            continue
        gap, ratio, outside = _numbers_differ(expected, given)
        absolute = np.maximum(absolute, gap)
        relative = np.maximum(relative, ratio)
        beyond = np.maximum(beyond, outside)
    undecided = _undecided(native, converted, classes)
    return Comparison(absolute, relative, beyond, flipped, undecided)


def synthetic(base: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Make up rows from given ones: columns shuffled apart, numbers moved by up to 3 deviations.

    The first two rows hold every numeric column's minimum and maximum.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    picked = base.sample(count, replace=True, random_state=seed).reset_index(drop=True)
    columns = {name: _stray(picked[name], base[name], rng) for name in base.columns}
    return pd.DataFrame(columns)


def invented(columns: Sequence[Column], count: int, seed: int = 0) -> pd.DataFrame:
    """Make up numeric rows from a signature alone, of magnitudes from 0.01 to 1,000.

    Raises:
        DataError: The signature is missing, or has columns that are not numeric.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    names: list[Any] = [column.name for column in columns if column.name is not None]
    if columns and columns[0].shape is not None and len(columns[0].shape) == 2:
        names = list(range(columns[0].shape[1]))
    table = columns and columns[0].shape is None
    if not names or (table and any(column.type not in _INVENTED for column in columns)):
        raise DataError(
            "there is no row to certify the conversion on",
            "pass --data, or log the model with an input example",
        )
    shape = (count, len(names))
    values = rng.normal(size=shape) * 10 ** rng.uniform(-2, 3, size=shape)
    frame = pd.DataFrame(values, columns=names)
    frame = frame.astype({c.name: "int64" for c in columns if c.type in {"integer", "long"}})
    for column in columns:
        if column.type == "boolean":
            frame[column.name] = rng.integers(0, 2, count).astype(bool)
    return frame


def _stray(column: pd.Series, source: pd.Series, rng: np.random.Generator) -> Any:
    values = rng.permutation(column.to_numpy())
    if values.dtype.kind not in "iuf":
        return values
    spread = float(np.nanstd(source.to_numpy(dtype=float))) or 1.0
    moved = values + rng.uniform(-3, 3, len(values)) * spread
    moved[:2] = [np.nanmin(source), np.nanmax(source)][: len(moved)]
    return moved.astype(values.dtype)


def _compare_probe(
    native: Model, converted: Model, probe: Probe
) -> tuple[Probe, Answers, Answers, Comparison]:
    try:
        expected = native.answer(probe.rows)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"the model refuses the {probe.origin} rows ({error})",
            "give rows as the model was trained on",
        ) from error
    given = converted.answer(probe.rows)
    return probe, expected, given, compare(expected, given, getattr(native, "classes", None))


def _batches_agree(converted: Model, probe: Probe, whole: Answers) -> bool:
    """Tell whether an answer depends on the rows that share its batch."""
    for size in _BATCH_SIZES:
        batch = probe.rows.iloc[:size]
        head = {name: values[: len(batch)] for name, values in whole.items()}
        if compare(head, converted.answer(batch)).failed.any():
            return False
    return True


def _certificate(
    compared: Sequence[tuple[Probe, Answers, Answers, Comparison]], *, batches_agree: bool
) -> Certificate:
    comparisons = [comparison for *_, comparison in compared]
    absolute = np.concatenate([c.absolute for c in comparisons])
    failed = int(sum(c.failed.sum() for c in comparisons))
    flips = int(sum(c.flipped.sum() for c in comparisons))
    rows: dict[str, int] = {}
    for probe, *_ in compared:
        rows[probe.origin] = rows.get(probe.origin, 0) + len(probe.rows)
    return Certificate(
        verdict="failed" if failed or not batches_agree else "passed",
        reason=_reason(failed, len(absolute), flips, batches_agree=batches_agree),
        rows=rows,
        max_abs_difference=float(absolute.max()),
        max_rel_difference=float(max(c.relative.max() for c in comparisons)),
        p999_abs_difference=float(np.quantile(absolute, 0.999, method="higher")),
        label_flips=flips,
        batch_sizes=_BATCH_SIZES,
        tolerance_abs=TOLERANCE_ABS,
        tolerance_rel=TOLERANCE_REL,
        tolerance_reason=_TOLERANCE_REASON,
        worst=_worst(compared),
    )


def _reason(failed: int, rows: int, flips: int, *, batches_agree: bool) -> str:
    if failed:
        return f"{failed} of {rows} rows are answered differently"
    if not batches_agree:
        return "the converted model's answer depends on the batch"
    if flips:
        return (
            f"all {rows} rows agree within the tolerance; {flips} got another label, "
            "where the native model holds two equally likely"
        )
    return f"all {rows} rows are answered the same"


def _worst(
    compared: Sequence[tuple[Probe, Answers, Answers, Comparison]],
) -> tuple[WorstRow, ...]:
    found = [
        WorstRow(
            row=int(probe.rows.index[row]) if probe.origin == "data" else int(row),
            origin=probe.origin,
            native=_show(native, row),
            converted=_show(converted, row),
            difference=float(comparison.absolute[row]),
        )
        for probe, native, converted, comparison in compared
        for row in np.argsort(-(comparison.absolute + comparison.flipped))[:_WORST]
        if comparison.absolute[row] > 0 or comparison.flipped[row]
    ]
    return tuple(sorted(found, key=lambda worst: -worst.difference)[:_WORST])


def _show(answers: Answers, row: int) -> str:
    shown = [
        f"{name} {values[row] if row < len(values) else f'of shape {values.shape}'}"
        for name, values in answers.items()
    ]
    return ", ".join(shown)[:200]


def _labels_differ(expected: Any, given: Any) -> np.ndarray[Any, Any]:
    rows = len(expected)
    left = _plain(expected)
    if given is None or _plain(given).shape != left.shape:
        return np.ones(rows, dtype=bool)
    right = _plain(given)
    if (left.dtype.kind in "biuf") != (right.dtype.kind in "biuf"):
        return np.ones(rows, dtype=bool)  # a number is no text, even where they print the same
    return np.atleast_1d(np.any(np.asarray(left != right).reshape(rows, -1), axis=1))


def _plain(labels: Any) -> np.ndarray[Any, Any]:
    """Return labels as numbers or text; of objects numpy finds out which. [n, 1] becomes [n]."""
    array = np.asarray(labels)
    array = np.asarray(array.tolist()) if array.dtype.kind == "O" else array
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _numbers_differ(
    expected: Any, given: Any
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows = len(expected)
    left = np.asarray(expected, dtype=float).reshape(rows, -1)
    if given is None or not _same_shape(np.asarray(expected), np.asarray(given)):
        unbounded = np.full(rows, np.inf)
        return unbounded, unbounded, unbounded
    right = np.asarray(given, dtype=float).reshape(rows, -1)
    gap = np.abs(left - right)
    # Both NaN, or both the same infinity, is agreement; NaN against a number is not.
    gap[(np.isnan(left) & np.isnan(right)) | (left == right)] = 0.0
    gap[np.isnan(gap)] = np.inf
    scale = np.abs(np.where(np.isfinite(left), left, 0.0))
    # Beside a native value of next to nothing, a relative difference would say nothing.
    ratio = np.divide(gap, scale, out=np.zeros_like(gap), where=scale > TOLERANCE_ABS)
    outside = gap - (TOLERANCE_ABS + TOLERANCE_REL * scale)
    return gap.max(axis=1), ratio.max(axis=1), outside.max(axis=1)


def _same_shape(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Compare shapes; a column [n, 1] is as good as [n]."""
    if right.dtype.kind not in "biuf":
        return False
    return left.reshape(len(left), -1).shape == right.reshape(len(right), -1).shape


def _undecided(native: Answers, converted: Answers, classes: Any) -> np.ndarray[Any, Any]:
    """Rows whose converted label the native model holds as likely as its own; shape [n].

    Within the tolerance, that is: there float32 may choose either.
    """
    rows = len(next(iter(native.values())))
    probabilities, labels = native.get(PROBABILITIES), converted.get(LABEL)
    unknown = np.zeros(rows, dtype=bool)
    if classes is None or probabilities is None or labels is None or len(labels) != rows:
        return unknown
    chosen = _plain(labels)[:, None] == _plain(classes)[None, :]
    if chosen.shape != probabilities.shape:
        return unknown
    likeliest = probabilities.max(axis=1)
    likelihood = np.where(chosen, probabilities, -np.inf).max(axis=1)
    return np.asarray(likeliest - likelihood <= TOLERANCE_ABS)
