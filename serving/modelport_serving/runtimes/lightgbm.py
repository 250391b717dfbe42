"""LightGBM models: Boosters from LightGBM's own text format, which holds no code.

The classes with scikit-learn's interface are pickles: `runtime_for` asks before they come here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import lightgbm

from modelport_serving.runtimes.estimators import EstimatorRuntime, unpickled


class LightgbmRuntime(EstimatorRuntime):
    """A Booster, or one of the classes with scikit-learn's interface."""

    may_run_inline = True

    def _open(self) -> Any:
        if not self._model.needs_pickle:
            return _Booster(lightgbm.Booster(model_file=self._model.model_file), self.threads)
        estimator = unpickled(self._model)
        estimator.set_params(n_jobs=self.threads)
        return estimator


class _Booster:
    """A Booster with `predict` on arrays, on a given number of threads."""

    def __init__(self, booster: lightgbm.Booster, threads: int) -> None:
        self.feature_names_in_ = booster.feature_name()
        self.n_features_in_ = booster.num_feature()
        self.predict = partial(booster.predict, num_threads=threads)
