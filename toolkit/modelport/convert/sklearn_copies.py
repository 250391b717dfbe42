"""Copies of scikit-learn estimators that answer the same, and that skl2onnx converts right.

- An ONNX tensor of text has no missing value: ONNX Runtime is given None, and reads "None". So
  encoders and imputers that know NaN know it by this word.
- An ordinal encoder that makes NaN of missing text forgets that category, and makes NaN of what
  it does not know: skl2onnx would number the category like any other.
- Trees of several targets get thresholds of float32, rounded down: skl2onnx rounds to the nearest
  one, and scikit-learn compares values of float32 with the threshold in float64.
- skl2onnx knows no sparse matrices, which a KBinsDiscretizer makes where it is not told.
- skl2onnx refuses votes whose `transform` would be flat, even where nobody calls `transform`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from modelport.errors import UnsupportedModel

MISSING = "None"


class _Missing(float):
    """NaN by the name that it has in a tensor of text."""

    def __str__(self) -> str:
        return MISSING


def convertible(estimator: Any) -> Any:
    """Return the fitted estimator itself, or a copy where a part had to be changed.

    Raises:
        UnsupportedModel: A part has something that skl2onnx would silently leave out or confuse.
    """
    if not any(change(part, dry=True) for part in parts(estimator) for change in _CHANGES):
        return estimator
    changed = copy.deepcopy(estimator)
    for part in parts(changed):
        for change in _CHANGES:
            change(part, dry=False)
    return changed


def parts(estimator: Any) -> Iterator[Any]:
    """Yield the fitted estimator and every one inside it, each once."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if hasattr(value, "get_params") and not isinstance(value, type):
            yield value
            waiting += vars(value).values()
        elif type(value).__name__ == "_CalibratedClassifier":
            waiting.append(value.estimator)
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def round_down(thresholds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the largest float32 numbers that are at most these.

    A float32 number is at most a threshold exactly if it is at most the one rounded down.
    """
    nearest = np.asarray(thresholds, dtype=np.float32)
    above = nearest.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _name_missing_categories(part: Any, *, dry: bool) -> bool:
    categories = getattr(part, "categories_", None)
    if not isinstance(categories, list) or not any(map(_has_missing, categories)):
        return False
    if not dry:
        part.categories_ = [_named(values) for values in categories]
        if np.isnan(getattr(part, "encoded_missing_value", 0.0)):
            _forget_missing(part)
    return True


def _forget_missing(encoder: Any) -> None:
    if encoder.handle_unknown == "error":
        encoder.handle_unknown, encoder.unknown_value = "use_encoded_value", np.nan
    if not np.isnan(encoder.unknown_value):
        raise UnsupportedModel(
            "skl2onnx cannot let an OrdinalEncoder make NaN of missing text and a number of unknown"
        )
    encoder.categories_ = [
        values[:-1] if _has_missing(values) else values for values in encoder.categories_
    ]


def _name_missing_to_impute(part: Any, *, dry: bool) -> bool:
    from sklearn.impute import SimpleImputer

    applies = (
        isinstance(part, SimpleImputer)
        and hasattr(part, "statistics_")
        and any(isinstance(value, str) for value in part.statistics_)
        and _is_nan(part.missing_values)
    )
    if applies and not dry:
        part.missing_values = MISSING
    return applies


def _round_thresholds(part: Any, *, dry: bool) -> bool:
    applies = hasattr(part, "tree_") and getattr(part, "n_outputs_", 1) > 1
    if applies and not dry:
        thresholds = part.tree_.threshold
        thresholds[:] = round_down(thresholds)
    return applies


def _unflatten_votes(part: Any, *, dry: bool) -> bool:
    applies = getattr(part, "flatten_transform", False) is True
    if applies and not dry:
        part.flatten_transform = False
    return applies


def _make_bins_dense(part: Any, *, dry: bool) -> bool:
    from sklearn.preprocessing import KBinsDiscretizer

    applies = isinstance(part, KBinsDiscretizer) and part.encode == "onehot"
    if applies and not dry:
        part.encode = "onehot-dense"
    return applies


_CHANGES = (
    _name_missing_categories,
    _name_missing_to_impute,
    _round_thresholds,
    _unflatten_votes,
    _make_bins_dense,
)


def _has_missing(values: np.ndarray[Any, Any]) -> bool:
    return values.dtype.kind == "O" and any(map(_is_nan, values))


def _named(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if not _has_missing(values):
        return values
    if any(str(value) == MISSING for value in values):
        raise UnsupportedModel(
            f"an encoder tells NaN, None and the word {MISSING!r} apart, which ONNX cannot"
        )
    named = values.copy()
    named[[_is_nan(value) for value in values]] = _Missing("nan")
    return named


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)
