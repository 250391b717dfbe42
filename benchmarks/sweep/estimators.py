"""Every estimator that scikit-learn lists, with the arguments and the table that it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sklearn.base import ClusterMixin, OutlierMixin, is_classifier, is_regressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

from benchmarks.sweep.cases import Case, Kind, LeftOut
from benchmarks.sweep.tables import table

_TABLES: dict[Kind, tuple[str, ...]] = {
    "classifiers": ("breast cancer", "wine"),
    "regressors": ("diabetes",),
    "clusterers": ("wine",),
    "outlier detectors": ("breast cancer",),
}
_OTHER_TABLES = {
    "CategoricalNB": ("wine, in fifths",),
    "IsotonicRegression": ("diabetes, one column",),
    "CCA": ("diabetes, two targets",),
    "PLSCanonical": ("diabetes, two targets",),
    "MultiTaskElasticNet": ("diabetes, two targets",),
    "MultiTaskElasticNetCV": ("diabetes, two targets",),
    "MultiTaskLasso": ("diabetes, two targets",),
    "MultiTaskLassoCV": ("diabetes, two targets",),
    "MultiOutputRegressor": ("diabetes, two targets",),
    "RegressorChain": ("diabetes, two targets",),
    "MultiOutputClassifier": ("wine, two labels",),
    "ClassifierChain": ("wine, two yes or no",),
    "FixedThresholdClassifier": ("breast cancer",),
    "TunedThresholdClassifierCV": ("breast cancer",),
}
"""Estimators that take no other target or features."""

_ARGUMENTS: dict[str, dict[str, Any]] = {
    "CategoricalNB": {"min_categories": 5},
    "LocalOutlierFactor": {"novelty": True},
    "QuadraticDiscriminantAnalysis": {"reg_param": 0.1},
    "RadiusNeighborsClassifier": {"radius": 200.0, "outlier_label": "most_frequent"},
    "LabelPropagation": {"kernel": "knn"},
    "LabelSpreading": {"kernel": "knn"},
    "GaussianMixture": {"n_components": 3},
    "BayesianGaussianMixture": {"n_components": 3},
    "QuantileRegressor": {"solver": "highs"},
}
_SEEDED = {"random_state": 0}

_CLASSIFIERS: dict[str, dict[str, Any]] = {
    "SelfTrainingClassifier": {"estimator": LogisticRegression(max_iter=5000)},
    "OneVsOneClassifier": {"estimator": LogisticRegression(max_iter=5000)},
    "OneVsRestClassifier": {"estimator": LogisticRegression(max_iter=5000)},
    "OutputCodeClassifier": {"estimator": LogisticRegression(max_iter=5000)},
    "ClassifierChain": {"estimator": LogisticRegression(max_iter=5000)},
    "MultiOutputClassifier": {"estimator": RandomForestClassifier(20, random_state=0)},
    "FixedThresholdClassifier": {"estimator": LogisticRegression(max_iter=5000), "threshold": 0.3},
    "TunedThresholdClassifierCV": {"estimator": LogisticRegression(max_iter=5000)},
    "StackingClassifier": {
        "estimators": [
            ("forest", RandomForestClassifier(20, random_state=0)),
            ("line", make_pipeline(StandardScaler(), LogisticRegression())),
        ]
    },
    "VotingClassifier": {
        "estimators": [
            ("tree", DecisionTreeClassifier(random_state=0)),
            ("line", make_pipeline(StandardScaler(), LogisticRegression())),
        ],
        "voting": "soft",
    },
}
_REGRESSORS: dict[str, dict[str, Any]] = {
    "MultiOutputRegressor": {"estimator": RandomForestRegressor(20, random_state=0)},
    "RegressorChain": {"estimator": Ridge()},
    "StackingRegressor": {
        "estimators": [("forest", RandomForestRegressor(20, random_state=0)), ("line", Ridge())]
    },
    "VotingRegressor": {
        "estimators": [("tree", DecisionTreeRegressor(random_state=0)), ("line", Ridge())]
    },
}


def cases() -> Iterator[Case]:
    """Yield every estimator that predicts, on each table of its kind."""
    for name, found in _listed():
        if name in _OF_EITHER_KIND:
            yield from _of_either_kind(name, found)
        elif hasattr(found, "predict"):
            yield from _of_one_kind(name, found)
    yield from _variants()


def left_out() -> Iterator[LeftOut]:
    """Yield every estimator that does not predict, with the reason."""
    for name, found in _listed():
        if not hasattr(found, "predict") and name not in _OF_EITHER_KIND:
            yield LeftOut(name, _why_not(found))


def _listed() -> list[tuple[str, Any]]:
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - lists two more

    found: list[tuple[str, Any]] = all_estimators()
    return found


def _why_not(found: Any) -> str:
    if issubclass(found, ClusterMixin):
        return "labels the rows that it is fitted on, and no others"
    if hasattr(found, "transform"):
        return "transforms rows, and predicts nothing: it is served as a step of a pipeline"
    if hasattr(found, "fit_transform"):
        return "transforms the rows that it is fitted on, and no others"
    return "has no `predict`"


def _of_one_kind(name: str, found: Any) -> Iterator[Case]:
    arguments = {
        **_ARGUMENTS.get(name, {}),
        **_CLASSIFIERS.get(name, {}),
        **_REGRESSORS.get(name, {}),
    }
    if "random_state" in inspect.signature(found).parameters:
        arguments = {**_SEEDED, **arguments}
    build = partial(found, **arguments)
    kind = _kind(build())
    for data in _OTHER_TABLES.get(name, _TABLES[kind]):
        yield Case(name, kind, data, build)


def _kind(estimator: Any) -> Kind:
    if isinstance(estimator, OutlierMixin):
        return "outlier detectors"
    if is_classifier(estimator):
        return "classifiers"
    return "regressors" if is_regressor(estimator) else "clusterers"


def _search(found: Any, estimator: Any, grid: dict[str, Any]) -> Any:
    arguments = inspect.signature(found).parameters
    grid_name = "param_grid" if "param_grid" in arguments else "param_distributions"
    seeded = _SEEDED if "random_state" in arguments else {}
    counted = {"n_iter": 2} if "n_iter" in arguments else {}
    return found(estimator, **{grid_name: grid}, **seeded, **counted)


def _frozen(found: Any, estimator: Any) -> Any:
    data = "iris" if is_classifier(estimator) else "diabetes"
    given = table(data).training
    return found(estimator.fit(given.rows, given.target))


_TREES = {"classifiers": DecisionTreeClassifier, "regressors": DecisionTreeRegressor}
_DEPTHS = {"max_depth": [2, 4]}
_OF_EITHER_KIND: dict[str, Callable[[Any, Any], Any]] = {
    "GridSearchCV": partial(_search, grid=_DEPTHS),
    "RandomizedSearchCV": partial(_search, grid=_DEPTHS),
    "HalvingGridSearchCV": partial(_search, grid=_DEPTHS),
    "HalvingRandomSearchCV": partial(_search, grid=_DEPTHS),
    "RFE": lambda found, tree: found(tree, n_features_to_select=2),
    "RFECV": lambda found, tree: found(tree),
    "Pipeline": lambda found, tree: found([("scale", StandardScaler()), ("tree", tree)]),
    "FrozenEstimator": _frozen,
}
"""Estimators that are what the estimator in them is."""


def _of_either_kind(name: str, found: Any) -> Iterator[Case]:
    tables: dict[Kind, str] = {"classifiers": "iris", "regressors": "diabetes"}
    for kind, data in tables.items():
        tree = _TREES[kind](random_state=0)
        build = partial(_OF_EITHER_KIND[name], found, tree)
        yield Case(f"{name} of a tree", kind, data, build)


def _variants() -> Iterator[Case]:
    """Yield what defaults leave out: names as labels, deep pipelines, several targets."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.decomposition import PCA
    from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier
    from sklearn.svm import SVC

    scaled: dict[str, Callable[[], Any]] = {
        "LogisticRegression, scaled": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        "SVC with probabilities, scaled": lambda: make_pipeline(
            StandardScaler(), CalibratedClassifierCV(SVC(), ensemble=False)
        ),
        "KNeighborsClassifier, scaled": lambda: make_pipeline(
            StandardScaler(), KNeighborsClassifier()
        ),
        "RandomForestClassifier": lambda: RandomForestClassifier(50, random_state=0),
        "HistGradientBoostingClassifier": lambda: HistGradientBoostingClassifier(random_state=0),
        "CalibratedClassifierCV, isotonic": lambda: CalibratedClassifierCV(
            DecisionTreeClassifier(max_depth=3, random_state=0), method="isotonic"
        ),
        "BaggingClassifier of pipelines": lambda: BaggingClassifier(
            make_pipeline(StandardScaler(), LogisticRegression()), random_state=0
        ),
    }
    for title, build in scaled.items():
        yield Case(title, "classifiers", "iris", build)
    yield Case(
        "PCA and SVC",
        "classifiers",
        "digits",
        lambda: make_pipeline(PCA(20, random_state=0), SVC()),
    )
    several: dict[str, Callable[[], Any]] = {
        "RandomForestRegressor": lambda: RandomForestRegressor(50, random_state=0),
        "KNeighborsRegressor": KNeighborsRegressor,
        "Ridge": Ridge,
    }
    for title, build in several.items():
        yield Case(title, "regressors", "diabetes, two targets", build)
    yield Case(
        "RandomForestClassifier",
        "classifiers",
        "wine, two labels",
        lambda: RandomForestClassifier(50, random_state=0),
    )
