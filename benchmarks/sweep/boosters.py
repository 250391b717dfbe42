"""XGBoost's, LightGBM's and CatBoost's models: scikit-learn's interface, and their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.sweep.cases import Case

if TYPE_CHECKING:
    import pandas as pd

_ROUNDS = 30
_CLASSIFIED = ("breast cancer", "wine")
_XGBOOST = {"n_estimators": _ROUNDS, "random_state": 0}
_LIGHTGBM = {"n_estimators": _ROUNDS, "random_state": 0, "verbose": -1, "n_jobs": 2}
_CATBOOST = {
    "iterations": _ROUNDS,
    "random_seed": 0,
    "verbose": False,
    "allow_writing_files": False,
}


def cases() -> Iterator[Case]:
    """Yield every model of the three libraries."""
    yield from _with_sklearn_interface()
    yield from _xgboost_boosters()
    yield from _lightgbm_boosters()
    yield from _with_gaps_and_texts()


def _with_sklearn_interface() -> Iterator[Case]:
    for name in ("XGBClassifier", "XGBRFClassifier"):
        yield from _wrapped("xgboost", name, _CLASSIFIED, **_XGBOOST)
    for name in ("XGBRegressor", "XGBRFRegressor"):
        yield from _wrapped("xgboost", name, ("diabetes",), **_XGBOOST)
    yield from _wrapped("xgboost", "XGBRegressor", ("diabetes, two targets",), **_XGBOOST)
    for booster in ("dart", "gblinear"):
        yield from _wrapped("xgboost", "XGBClassifier", _CLASSIFIED, booster=booster, **_XGBOOST)
        yield from _wrapped("xgboost", "XGBRegressor", ("diabetes",), booster=booster, **_XGBOOST)
    yield from _wrapped("lightgbm", "LGBMClassifier", (*_CLASSIFIED, "iris"), **_LIGHTGBM)
    yield from _wrapped("lightgbm", "LGBMRegressor", ("diabetes",), **_LIGHTGBM)
    for boosting in ("dart", "rf"):
        more = {"boosting_type": boosting, "subsample": 0.7, "subsample_freq": 1, **_LIGHTGBM}
        yield from _wrapped("lightgbm", "LGBMClassifier", _CLASSIFIED, **more)
        yield from _wrapped("lightgbm", "LGBMRegressor", ("diabetes",), **more)
    yield from _wrapped("catboost", "CatBoostClassifier", (*_CLASSIFIED, "iris"), **_CATBOOST)
    yield from _wrapped("catboost", "CatBoostRegressor", ("diabetes",), **_CATBOOST)
    more = {"loss_function": "MultiRMSE", **_CATBOOST}
    yield from _wrapped("catboost", "CatBoostRegressor", ("diabetes, two targets",), **more)
    yield from _rankers()


def _wrapped(library: str, name: str, tables: tuple[str, ...], **arguments: Any) -> Iterator[Case]:
    told = ("booster", "boosting_type", "loss_function")
    variant = "".join(f", {arguments[key]}" for key in told if key in arguments)
    for data in tables:
        yield Case(
            f"{name}{variant}", "boosted trees", data, _maker(library, name, arguments), library
        )


def _maker(library: str, name: str, arguments: dict[str, Any]) -> Callable[[], Any]:
    return lambda: getattr(import_module(library), name)(**arguments)


def _rankers() -> Iterator[Case]:
    """Yield rankers: one group of rows, ranked by the progression's tenth."""
    for library, name, arguments in (
        ("xgboost", "XGBRanker", _XGBOOST),
        ("lightgbm", "LGBMRanker", _LIGHTGBM),
    ):
        build = _maker(library, name, arguments)
        yield Case(name, "boosted trees", "diabetes", build, library, _fit_ranker)
    build = _maker("catboost", "CatBoostRanker", _CATBOOST)
    yield Case(
        "CatBoostRanker", "boosted trees", "diabetes", build, "catboost", _fit_catboost_ranker
    )


def _fit_ranker(model: Any, rows: pd.DataFrame, target: Any) -> Any:
    return model.fit(rows, _tenths(target), group=[len(rows)])


def _fit_catboost_ranker(model: Any, rows: pd.DataFrame, target: Any) -> Any:
    return model.fit(rows, _tenths(target), group_id=[0] * len(rows))


def _tenths(target: pd.Series) -> pd.Series:
    return (target.rank(pct=True) * 9).astype("int64")


def _xgboost_boosters() -> Iterator[Case]:
    objectives = {
        "binary:logistic": "breast cancer",
        "multi:softprob": "wine",
        "multi:softmax": "wine",
        "reg:squarederror": "diabetes",
        "count:poisson": "diabetes",
        "reg:gamma": "diabetes",
    }
    for objective, data in objectives.items():
        classes = {"num_class": 3} if objective.startswith("multi") else {}
        parameters = {"objective": objective, "seed": 0, **classes}
        yield Case(
            f"xgboost.Booster, {objective}",
            "boosted trees",
            data,
            dict,
            "xgboost",
            partial(_train_xgboost, parameters=parameters),
            _predict_xgboost,
        )


def _train_xgboost(_: Any, rows: pd.DataFrame, target: Any, parameters: dict[str, Any]) -> Any:
    import xgboost

    return xgboost.train(parameters, xgboost.DMatrix(rows, label=target), _ROUNDS)


def _predict_xgboost(model: Any, rows: pd.DataFrame) -> Any:
    import xgboost

    return model.predict(xgboost.DMatrix(rows))


def _lightgbm_boosters() -> Iterator[Case]:
    objectives = {
        "binary": "breast cancer",
        "multiclass": "wine",
        "regression": "diabetes",
        "poisson": "diabetes",
        "quantile": "diabetes",
    }
    for objective, data in objectives.items():
        classes = {"num_class": 3} if objective == "multiclass" else {}
        parameters = {"objective": objective, "seed": 0, "verbose": -1, **classes}
        yield Case(
            f"lightgbm.Booster, {objective}",
            "boosted trees",
            data,
            dict,
            "lightgbm",
            partial(_train_lightgbm, parameters=parameters),
        )


def _train_lightgbm(_: Any, rows: pd.DataFrame, target: Any, parameters: dict[str, Any]) -> Any:
    import lightgbm

    return lightgbm.train(parameters, lightgbm.Dataset(rows, label=target), _ROUNDS)


def _with_gaps_and_texts() -> Iterator[Case]:
    """Yield models on numbers with gaps, and CatBoost on texts, which it takes as they are."""
    for library, name, arguments in (
        ("xgboost", "XGBClassifier", _XGBOOST),
        ("lightgbm", "LGBMClassifier", _LIGHTGBM),
        ("catboost", "CatBoostClassifier", _CATBOOST),
    ):
        build = _maker(library, name, arguments)
        yield Case(name, "boosted trees", "wine, with gaps", build, library)
    texts = {"cat_features": ["sex", "age"], **_CATBOOST}
    build = _maker("catboost", "CatBoostRegressor", texts)
    yield Case(
        "CatBoostRegressor", "boosted trees", "patients, no gaps", build, "catboost", unseen=True
    )
