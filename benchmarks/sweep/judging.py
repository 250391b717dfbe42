"""Whether two models answer the same, in plain numpy: no line of it is the certificate's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
Answers = Mapping[str, Array]
Answer = Callable[["pd.DataFrame"], Answers]
Scores = tuple[Array, Sequence[Any]]
"""The score of every class [n, k], and the classes in that order."""

TOLERANCE = 1e-3
_NEIGHBOURS = 32
_EXAMINED = 200
_TIE = 1e-5


@dataclass(frozen=True)
class Difference:
    """How far two models lie apart on n rows.

    Attributes:
        rows: How many were compared.
        differing: Share with another label, or a number off by more than 1e-3 of its size.
        unexplained: Share where neither a tie nor the rounding of inputs to float32 explains it.
    """

    rows: int
    differing: float
    unexplained: float


def compare(
    native: Answer,
    given: Answer,
    rows: pd.DataFrame,
    scores: Callable[[pd.DataFrame], Mapping[str, Scores]],
) -> Difference:
    """Compare two models on n rows.

    Args:
        native: What is right.
        given: What is compared with it.
        rows: The rows.
        scores: By the name of an output of labels: what the native model holds of every class.
    """
    expected = native(rows)
    answered = given(rows)
    scale = scales(expected)
    apart = np.flatnonzero(differing(expected, answered, scale))
    if not len(apart):
        return Difference(len(rows), 0.0, 0.0)
    examined = apart[np.linspace(0, len(apart) - 1, min(len(apart), _EXAMINED)).astype(int)]
    some = rows.iloc[examined].reset_index(drop=True)
    theirs = {name: np.asarray(values)[examined] for name, values in answered.items()}
    ours = {name: np.asarray(values)[examined] for name, values in expected.items()}
    held = {name: one for name, one in scores(some).items() if name in theirs}
    explained = _rounded(native, theirs, some, scale) | _tied(ours, theirs, scale, held)
    share = len(apart) / len(rows)
    return Difference(len(rows), share, share * float(np.mean(~explained)))


def scales(answers: Answers) -> dict[str, Any]:
    """Return the size below which numbers of an output are small: their deviation, at most 1."""
    sizes = {}
    for name, values in answers.items():
        array = np.asarray(values)
        if array.dtype.kind == "f":
            spread = np.nanstd(array.reshape(len(array), -1), axis=0)
            sizes[name] = np.where(spread > 0, spread, 1.0)
    return sizes


def differing(
    expected: Answers, given: Answers, scale: Mapping[str, Any], tolerance: float = TOLERANCE
) -> Array:
    """Tell the rows that are answered differently; shape [n].

    A number differs by more than `tolerance` of its own size or of its output's scale, whichever
    is larger. Labels and whole numbers differ, or not. A missing output differs everywhere.
    """
    rows = len(next(iter(expected.values())))
    apart = np.zeros(rows, dtype=bool)
    for name, values in expected.items():
        left = np.asarray(values).reshape(rows, -1)
        right = np.asarray(given[name]).reshape(rows, -1) if name in given else left[:, :0]
        if left.shape != right.shape:
            return np.ones(rows, dtype=bool)
        apart |= _apart(left, right, scale.get(name), tolerance).any(axis=1)
    return apart


def _apart(left: Array, right: Array, scale: Any, tolerance: float) -> Array:
    if scale is None:
        return np.asarray(left.astype(object) != right.astype(object))
    wide, other = left.astype(float), right.astype(float)
    gap = np.abs(wide - other) > tolerance * np.maximum(np.abs(wide), scale)
    gap |= np.isnan(wide) != np.isnan(other)
    return np.asarray(gap & (wide != other))  # the same infinity is the same


def _rounded(native: Answer, given: Answers, rows: pd.DataFrame, scale: Mapping[str, Any]) -> Array:
    """Tell the rows whose other answer the native model gives a float32 step beside them."""
    explained = np.zeros(len(rows), dtype=bool)
    for seed in range(_NEIGHBOURS):
        explained |= ~differing(native(_neighbour(rows, seed)), given, scale)
    return explained


def _neighbour(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Round the numbers to float32; beyond the first time, go up to one step up or down."""
    rng = np.random.default_rng(seed)
    moved = {}
    for name in rows.columns:
        column = rows[name]
        if column.dtype.kind != "f":
            continue
        near = column.to_numpy(dtype=np.float32)
        if seed:
            towards = rng.choice(np.array([-np.inf, np.nan, np.inf], np.float32), len(near))
            near = np.where(np.isnan(towards), near, np.nextafter(near, towards))
        moved[name] = near.astype(np.float64)
    return rows.assign(**moved)


def _tied(
    expected: Answers,
    given: Answers,
    scale: Mapping[str, Any],
    scores: Mapping[str, Scores],
) -> Array:
    """Tell the rows where nothing but labels differ that the native model holds as likely."""
    rest = {name: values for name, values in expected.items() if name not in scores}
    tied = np.ones(len(next(iter(given.values()))), dtype=bool)
    if rest:
        tied &= ~differing(rest, given, scale)
    for name, (held, classes) in scores.items():
        top = held.max(axis=1)
        for labels in (expected[name], given[name]):  # a label may follow another rule than the top
            own = np.where(_chosen(labels, classes), held, -np.inf).max(axis=1)
            tied &= top - own <= _TIE * np.maximum(1.0, np.abs(top))
    return tied & bool(scores)


def _chosen(labels: Array, classes: Sequence[Any]) -> Array:
    """Tell for n labels which of k classes each is, [n, k]."""
    known = np.asarray(classes).astype(object)
    return np.asarray(np.asarray(labels).reshape(-1, 1).astype(object) == known[None, :])
