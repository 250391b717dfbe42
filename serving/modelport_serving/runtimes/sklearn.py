"""scikit-learn models, without MLflow; pandas only for those that pick columns by name.

Loading one may run code from its folder: `runtime_for` asks before it comes here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelport_serving.runtimes.estimators import EstimatorRuntime, unpickled

_READ_NAMES = ("ColumnTransformer", "FunctionTransformer")


class SklearnRuntime(EstimatorRuntime):
    """An estimator or a pipeline. Requests run side by side, each on one thread."""

    def _open(self) -> Any:
        estimator = unpickled(self._model)
        parts = list(_parts(estimator))
        for part in parts:
            if getattr(part, "n_jobs", None) not in (None, 1):
                part.n_jobs = 1
        self.may_run_inline = all(map(_is_sklearn, parts))
        return estimator

    def _takes_arrays(self, estimator: Any) -> bool:
        """Others' transformers, and those that pick columns, may need the columns' names."""
        return all(
            _is_sklearn(part) and type(part).__name__ not in _READ_NAMES
            for part in _parts(estimator)
        )


def _parts(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and all that it is made of, fitted or not."""
    yield estimator
    parameters = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    fitted = getattr(estimator, "best_estimator_", None)
    for part in (*parameters.values(), fitted):
        if hasattr(part, "fit") and part is not estimator:
            yield part
    if fitted is not None:
        yield from _parts(fitted)


def _is_sklearn(part: Any) -> bool:
    return type(part).__module__.startswith("sklearn.")
