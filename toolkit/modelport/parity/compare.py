"""Two sets of answers to the same rows, set side by side element by element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES, SCORES

Answers = dict[str, np.ndarray[Any, Any]]

_DIGITS = 32.0  # so many of its last digits may be lost where small numbers meet a large one
_TELLING = 0.1  # but no more than this share of what the output varies by
_NOISE = 2.0**-24  # outputs smaller than this are compared as if they were so large


@dataclass(frozen=True)
class Tolerance:
    """How far an answer may be off: `absolute + relative * |native|`, as numpy's `isclose`.

    What an output reaches over many rows narrows that, see `Reach`.

    Attributes:
        absolute: For outputs of the order of 1, such as probabilities.
        relative: As a share of the native value.
        reason: Why this and no less.
        spread: Further leeway, as a share of the output's standard deviation over the rows.
        excused: Share of the rows that may lie outside all the same.
        digit: The last digit of the type that sums are made in, as a share of the number.
    """

    absolute: float
    relative: float
    reason: str
    spread: float = 0.0
    excused: float = 0.0
    digit: float = 2.0**-24


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
    digit=2.0**-11,
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
class Reach:
    """How large the values of an output are, and how far apart, over rows like the data's.

    Beside it a tolerance in fixed terms may be anything: 1e-5 is all there is of a target in
    millionths, and a ten-thousandth of a time in seconds since 1970 is two days.

    Attributes:
        largest: The largest absolute value; 1 for probabilities, which are shares of one.
        deviation: Standard deviation of each of the output's w elements, [w].
        varies: Which of them vary by more than the native model itself rounds, [w].
    """

    largest: float
    deviation: np.ndarray[Any, Any]
    varies: np.ndarray[Any, Any]

    def is_told(self, tolerance: Tolerance) -> bool:
        """Tell whether the type that sums are made in can tell the output's values apart."""
        lost = _DIGITS * tolerance.digit * self.largest
        return not (self.varies & (lost > _TELLING * self.deviation)).any()


def reaches(answers: Sequence[Answers]) -> dict[str, Reach]:
    """Return the reach of every output of measured numbers, over several sets of answers."""
    return {
        name: _reach(name, [np.asarray(one[name]) for one in answers])
        for name, values in answers[0].items()
        if _is_measured(name, values)
    }


def _reach(name: str, answers: Sequence[np.ndarray[Any, Any]]) -> Reach:
    values = np.concatenate([_elements(one) for one in answers])
    known = np.where(np.isfinite(values), values, np.nan)
    given = ~np.isnan(known).all(axis=0)
    deviation, centre = np.zeros((2, values.shape[1]))
    deviation[given] = np.nanstd(known[:, given], axis=0)
    centre[given] = np.nanmean(known[:, given], axis=0)
    shares = name.startswith(PROBABILITIES)
    largest = 1.0 if shares else float(np.nanmax(np.abs(known[:, given]), initial=0.0))
    kind = answers[0].dtype
    own = 4 * float(np.finfo(kind if kind.kind == "f" else float).eps)
    return Reach(largest, deviation, deviation > own * np.abs(centre))


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
        return np.asarray(self.flipped & self.undecided & (self.beyond <= 0))

    @property
    def failed(self) -> np.ndarray[Any, Any]:
        """Rows outside the tolerance, and label flips that no tie explains; shape [n]."""
        return np.asarray(~(self.beyond <= 0) | (self.flipped & ~self.undecided))


def compare(
    native: Answers,
    converted: Answers,
    classes: Any = None,
    tolerance: Tolerance = FLOAT32,
    reach: Mapping[str, Reach] | None = None,
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
        reach: What each output of numbers reaches; where it is not known, the tolerance is
            taken as it stands.
    """
    reach = reach or {}
    rows = len(next(iter(native.values())))
    absolute = np.zeros(rows)
    relative = np.zeros(rows)
    beyond = np.full(rows, -np.inf)
    flipped = np.zeros(rows, dtype=bool)
    undecided = np.ones(rows, dtype=bool)
    for name, expected in native.items():
        given = converted.get(name)
        if not _is_measured(name, expected):
            other = _labels_differ(expected, given)
            flipped |= other
            undecided &= ~other | _undecided(name, native, converted, classes, reach)
            continue
        gap, ratio, outside = _numbers_differ(expected, given, tolerance, reach.get(name))
        absolute = np.maximum(absolute, gap)
        relative = np.maximum(relative, ratio)
        beyond = np.maximum(beyond, outside)
    return Comparison(absolute, relative, beyond, flipped, undecided & flipped)


def _is_measured(name: str, values: Any) -> bool:
    """Tell numbers that are measured from labels, text, whole numbers and truth values."""
    return not name.startswith(LABEL) and bool(plain(values).dtype.kind == "f")


def _elements(values: Any) -> np.ndarray[Any, Any]:
    """Return an output of n rows as numbers [n, elements]."""
    return np.asarray(values, dtype=float).reshape(len(values), -1)


def leeway(
    values: np.ndarray[Any, Any], tolerance: Tolerance, reach: Reach | None
) -> np.ndarray[Any, Any]:
    """Return how far answers may lie from these values [..., elements]."""
    size = np.abs(np.where(np.isfinite(values), values, 0.0))
    if reach is None:
        return np.asarray(tolerance.absolute + tolerance.relative * size)
    # However far from zero the values lie, it is their differences that the model tells.
    lost = _DIGITS * tolerance.digit * size
    lost = np.where(reach.varies, np.minimum(lost, _TELLING * reach.deviation), lost)
    relative = np.minimum(tolerance.relative * size, tolerance.relative * reach.deviation + lost)
    absolute = tolerance.absolute * _unit(reach)
    return np.asarray(absolute + relative + tolerance.spread * reach.deviation)


def _unit(reach: Reach | None) -> float:
    """Return what an absolute tolerance is a share of: at most 1."""
    return 1.0 if reach is None else min(1.0, max(reach.largest, _NOISE))


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
    name: str,
    native: Answers,
    converted: Answers,
    classes: Any,
    reach: Mapping[str, Reach],
) -> np.ndarray[Any, Any]:
    """Tell where the native model gives its own and the other label the same probability."""
    rows = len(native[name])
    decided = np.zeros(rows, dtype=bool)
    if name == PREDICTION and SCORES in native:  # an outlier detector, undecided at 0
        scores = np.abs(native[SCORES]).reshape(rows)
        return np.asarray(scores <= FLOAT32.absolute * _unit(reach.get(SCORES)))
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
    expected: Any, given: Any, tolerance: Tolerance, reach: Reach | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows = len(expected)
    left = _elements(expected)
    if given is None or not _same_shape(np.asarray(expected), np.asarray(given)):
        unbounded = np.full(rows, np.inf)
        return unbounded, unbounded, unbounded
    right = _elements(given)
    left = _as_narrow_as(left, np.asarray(given).dtype)
    with np.errstate(invalid="ignore"):
        gap = np.abs(left - right)
    # Both NaN, or both the same infinity, is agreement; NaN against a number is not.
    gap[(np.isnan(left) & np.isnan(right)) | (left == right)] = 0.0
    gap[np.isnan(gap)] = np.inf
    scale = np.abs(np.where(np.isfinite(left), left, 0.0))
    # Beside a native value of next to nothing, a relative difference would say nothing.
    ratio = np.divide(gap, scale, out=np.zeros_like(gap), where=scale > tolerance.absolute)
    beyond = gap - leeway(left, tolerance, reach)
    return gap.max(axis=1), ratio.max(axis=1), beyond.max(axis=1)


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
