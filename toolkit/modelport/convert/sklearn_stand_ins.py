"""What stands in for estimators that skl2onnx does not know, and answers the same.

A frozen estimator, and a finished search, is the estimator in it; one that eliminated features is
a pipeline that selects them.
"""

from __future__ import annotations

import copy
from typing import Any


def stand_in(estimator: Any) -> Any:
    """Return the fitted estimator, or a copy of it where a part needed something else."""
    return _predictor(_unwrapped(estimator) if _holds_wrapped(estimator) else estimator)


def _holds_wrapped(estimator: Any) -> bool:
    from modelport.convert.sklearn_copies import parts

    return any(_inner(part) is not part for part in parts(estimator))


def _inner(value: Any) -> Any:
    """Return the estimator in a frozen one, in a finished search, or in one that taught itself."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection._search import BaseSearchCV
    from sklearn.semi_supervised import SelfTrainingClassifier

    while True:
        if isinstance(value, FrozenEstimator):
            value = value.estimator
        elif isinstance(value, BaseSearchCV) and hasattr(value, "best_estimator_"):
            value = value.best_estimator_
        elif isinstance(value, SelfTrainingClassifier) and hasattr(value, "estimator_"):
            value = value.estimator_
        else:
            return value


def _unwrapped(value: Any) -> Any:
    """Return a copy without wrappers, however deep they are."""
    value = _inner(value)
    whole = hasattr(value, "get_params") or type(value).__name__ == "_CalibratedClassifier"
    if whole and not isinstance(value, type):
        changed = copy.copy(value)
        vars(changed).update({name: _unwrapped(held) for name, held in vars(value).items()})
        return changed
    if type(value) in (list, tuple):
        return type(value)(map(_unwrapped, value))
    if type(value) is dict:
        return {name: _unwrapped(held) for name, held in value.items()}
    return value


def _predictor(estimator: Any) -> Any:
    """Let what predicts with selected features be a pipeline; elsewhere it only selects."""
    from sklearn.feature_selection import RFE
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, RFE):
        return Pipeline([("selection", estimator), ("model", _predictor(estimator.estimator_))])
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = _predictor(last)
        return estimator if inner is last else Pipeline([*estimator.steps[:-1], (name, inner)])
    return estimator
