"""Two sets of answers to the same rows, set side by side element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES, SCORES

Answers = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Tolerance:
    """How far an answer may be off: `absolute + relative * |native|`, as numpy's `isclose`.

    Attributes:
        absolute: In the output's unit.
        relative: As a share of the native value.
        reason: Why this and no less.
        spread: Further leeway, as a share of the output's standard deviation over the rows.
        excused: Share of the rows that may lie outside all the same.
    """

    absolute: float
    relative: float
    reason: str
    spread: float = 0.0
    excused: float = 0.0


FLOAT32 = Tolerance(
    1e-5,
    1e-4,
    "float32 carries 7 digits: sums over many trees or features agree to about 5 of them",
)
FLOAT16 = Tolerance(
    1e-3,
    1e-2,
    "float16 carries 3 digits; one row in 100 may lie outside",
    spread=0.01,
    excused=0.01,
)
INT8 = Tolerance(
    1e-2,
    5e-2,
    "int8 weights carry 2 digits; two rows in 100 may lie outside",
    spread=0.05,
    excused=0.02,
)
TOLERANCES = {"float32": FLOAT32, "float16": FLOAT16, "int8": INT8}


@dataclass(frozen=True)
class Comparison:
    """What n rows showed; every array has shape [n].

    `beyond` is how far a row's worst element lies outside the tolerance (<= 0 is inside).
    `undecided` are rows on which the native model itself holds both labels equally likely.
    """

    absolute: np.ndarray[Any, Any]
    relative: np.ndarray[Any, Any]
    beyond: np.ndarray[Any, Any]
    flipped: np.ndarray[Any, Any]
    undecided: np.ndarray[Any, Any]

    @property
    def tied(self) -> np.ndarray[Any, Any]:
        """Rows whose other label is excused, as the native model was undecided; shape [n]."""
        return np.asarray(self.flipped & self.undecided & ~(self.beyond > 0))

    @property
    def failed(self) -> np.ndarray[Any, Any]:
        """Rows outside the tolerance, and label flips that no tie explains; shape [n]."""
        return np.asarray((self.beyond > 0) | (self.flipped & ~self.undecided))


def compare(
    native: Answers,
    converted: Answers,
    classes: Any = None,
    tolerance: Tolerance = FLOAT32,
) -> Comparison:
    """Compare two sets of answers on the same n rows.

    Outputs are matched by name; one that is missing, or has another shape, differs without
    bound, so it can never pass. Outputs of text, of labels and of whole numbers must be equal.

    Args:
        native: What is right: every output by name, each of shape [n] or [n, ...].
        converted: What is compared with it.
        classes: The labels in the order of `probabilities`; with them, a flip between labels
            that the native model holds equally likely is told from any other. For several
            targets a list of them, in the order of `probabilities_0`, `probabilities_1`, ...
        tolerance: How far numbers may be off.
    """
    rows = len(next(iter(native.values())))
    absolute = np.zeros(rows)
    relative = np.zeros(rows)
    beyond = np.full(rows, -np.inf)
    flipped = np.zeros(rows, dtype=bool)
    undecided = np.ones(rows, dtype=bool)
    for name, expected in native.items():
        given = converted.get(name)
        if name.startswith(LABEL) or not _measures(expected):
            other = _labels_differ(expected, given)
            flipped |= other
            undecided &= ~other | _undecided(name, native, converted, classes)
            continue
        gap, ratio, outside = _numbers_differ(expected, given, tolerance)
        absolute = np.maximum(absolute, gap)
        relative = np.maximum(relative, ratio)
        beyond = np.maximum(beyond, outside)
    return Comparison(absolute, relative, beyond, flipped, undecided & flipped)


def _measures(values: Any) -> bool:
    """Tell numbers that are measured from text, whole numbers and truth values."""
    return bool(plain(values).dtype.kind == "f")


def plain(labels: Any) -> np.ndarray[Any, Any]:
    """Return labels as numbers or text; of objects numpy finds out which. [n, 1] becomes [n]."""
    array = np.asarray(labels)
    array = np.asarray(array.tolist()) if array.dtype.kind == "O" else array
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _labels_differ(expected: Any, given: Any) -> np.ndarray[Any, Any]:
    rows = len(expected)
    left = plain(expected)
    if given is None or plain(given).shape != left.shape:
        return np.ones(rows, dtype=bool)
    right = plain(given)
    if (left.dtype.kind in "biuf") != (right.dtype.kind in "biuf"):
        return np.ones(rows, dtype=bool)  # a number is no text, even where they print the same
    return np.atleast_1d(np.any(np.asarray(left != right).reshape(rows, -1), axis=1))


def _undecided(
    name: str, native: Answers, converted: Answers, classes: Any
) -> np.ndarray[Any, Any]:
    """Tell where the native model gives its own and the other label the same probability."""
    rows = len(native[name])
    decided = np.zeros(rows, dtype=bool)
    if name == PREDICTION and SCORES in native:  # an outlier detector, undecided at 0
        return np.asarray(np.abs(native[SCORES]).reshape(rows) <= FLOAT32.absolute)
    shares, known = _shares(name, native, classes)
    given = converted.get(name)
    if shares is None or known is None or given is None:
        return decided
    own, other = plain(native[name]), plain(given)
    if own.ndim != 1 or own.shape != other.shape or shares.shape != (rows, len(known)):
        return decided
    place = {label: index for index, label in enumerate(plain(known).tolist())}
    mine = np.array([place.get(label, -1) for label in own.tolist()])
    theirs = np.array([place.get(label, -1) for label in other.tolist()])
    certain = (mine < 0) | (theirs < 0)
    each = np.arange(rows)
    gap = np.abs(shares[each, mine] - shares[each, theirs])
    return np.asarray((gap <= FLOAT32.absolute) & ~certain)


def _shares(name: str, native: Answers, classes: Any) -> tuple[np.ndarray[Any, Any] | None, Any]:
    """Return the probabilities that belong to an output of labels, and their classes."""
    target = name.partition("_")[2]
    if target:
        known = classes[int(target)] if isinstance(classes, list) else None
        return native.get(f"{PROBABILITIES}_{target}"), known
    return native.get(PROBABILITIES), None if isinstance(classes, list) else classes


def _numbers_differ(
    expected: Any, given: Any, tolerance: Tolerance
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows = len(expected)
    left = np.asarray(expected, dtype=float).reshape(rows, -1)
    if given is None or not _same_shape(np.asarray(expected), np.asarray(given)):
        unbounded = np.full(rows, np.inf)
        return unbounded, unbounded, unbounded
    right = np.asarray(given, dtype=float).reshape(rows, -1)
    left = _as_narrow_as(left, np.asarray(given).dtype)
    with np.errstate(invalid="ignore"):
        gap = np.abs(left - right)
    # Both NaN, or both the same infinity, is agreement; NaN against a number is not.
    gap[(np.isnan(left) & np.isnan(right)) | (left == right)] = 0.0
    gap[np.isnan(gap)] = np.inf
    scale = np.abs(np.where(np.isfinite(left), left, 0.0))
    # Beside a native value of next to nothing, a relative difference would say nothing.
    ratio = np.divide(gap, scale, out=np.zeros_like(gap), where=scale > tolerance.absolute)
    allowed = tolerance.absolute + tolerance.relative * scale
    if tolerance.spread:
        allowed = allowed + tolerance.spread * left[np.isfinite(left).all(axis=1)].std(axis=0)
    return gap.max(axis=1), ratio.max(axis=1), (gap - allowed).max(axis=1)


def _as_narrow_as(values: np.ndarray[Any, Any], dtype: Any) -> np.ndarray[Any, Any]:
    """Give numbers the range of the other type: what overflows there is infinite here too."""
    if np.dtype(dtype).kind != "f" or np.dtype(dtype).itemsize >= values.dtype.itemsize:
        return values
    largest = float(np.finfo(dtype).max)
    return np.where(np.abs(values) > largest, np.copysign(np.inf, values), values)


def _same_shape(expected: np.ndarray[Any, Any], given: np.ndarray[Any, Any]) -> bool:
    """Tell whether both are numbers of one shape; [n] is the same as [n, 1]."""
    if given.dtype.kind not in "biuf":
        return False

    def shape(array: np.ndarray[Any, Any]) -> tuple[int, ...]:
        narrow = array.ndim == 2 and array.shape[1] == 1
        return tuple(array.shape[:1] if narrow else array.shape)

    return shape(expected) == shape(given)
