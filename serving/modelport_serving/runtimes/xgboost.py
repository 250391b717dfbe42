"""XGBoost models, from XGBoost's own file format, which holds no code. No pandas, no MLflow."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import xgboost

from modelport_serving.errors import ModelLoadFailed
from modelport_serving.runtimes.estimators import EstimatorRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from modelport_serving.tensors import Array


class XgboostRuntime(EstimatorRuntime):
    """A Booster, or one of the classes with scikit-learn's interface."""

    may_run_inline = True

    def _open(self) -> Any:
        # `needs_pickle` knows these classes: no other name of MLmodel's is ever looked up.
        name = self._model.model_class.rpartition(".")[2]
        model = getattr(xgboost, name)()
        _check_format(self._model.model_file)
        # It reads the right one of its formats all the same.
        warnings.filterwarnings("ignore", ".*Unknown file format: `bst`")
        model.load_model(self._model.model_file)
        booster = model if name == "Booster" else model.get_booster()
        booster.set_param({"nthread": self.threads})
        return _Booster(booster) if name == "Booster" else _unnamed(model)

    def _feature_names(self, estimator: Any) -> list[str] | None:
        booster = estimator.booster if isinstance(estimator, _Booster) else estimator.get_booster()
        names = booster.feature_names
        return None if names is None else list(names)


def _check_format(file: Path | None) -> None:
    """Refuse what is neither JSON nor UBJSON, in plainer words than XGBoost's."""
    if file is None:
        return
    with file.open("rb") as stream:
        if not stream.read(16).lstrip().startswith(b"{"):
            raise ModelLoadFailed(
                f"{file} is neither JSON nor UBJSON. If it is in XGBoost's old binary format, "
                "which XGBoost 3.1 removed, load it with XGBoost 3.0 and save it as model.ubj"
            )


def _unnamed(model: Any) -> Any:
    """Let the model take arrays: linear ones ask for the columns' names, whose order is known."""
    for name in ("predict", "predict_proba"):
        if hasattr(model, name):
            setattr(model, name, partial(getattr(model, name), validate_features=False))
    return model


class _Booster:
    """A Booster with `predict` on arrays."""

    def __init__(self, booster: xgboost.Booster) -> None:
        self.booster = booster
        self.n_features_in_ = booster.num_features()

    def predict(self, rows: Array) -> Any:
        """Answer rows [N, features] as `Booster.predict` does."""
        try:
            return self.booster.inplace_predict(rows)
        except xgboost.core.XGBoostError:  # linear boosters have no way in place
            matrix = xgboost.DMatrix(rows, feature_names=self.booster.feature_names)
            return self.booster.predict(matrix)
