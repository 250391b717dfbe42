"""Pipelines on tables with texts and missing values: what encoders and imputers make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC

from benchmarks.sweep.cases import Case, Kind

Build = Callable[[], Any]
_KIND: Kind = "pipelines with strings"
_TEXTS = make_column_selector(dtype_exclude=["number", "bool"])
_REST = make_column_selector(dtype_include=["number", "bool"])


def cases() -> Iterator[Case]:
    """Yield pipelines on the merchant's wines, the patients, and sentences."""
    for title, encoder, unseen in _encoders():
        build = _pipeline(encoder, LogisticRegression(max_iter=1000))
        yield Case(f"{title} and LogisticRegression", _KIND, "cellar", build, unseen=unseen)
        build = _pipeline(encoder, RandomForestRegressor(30, random_state=0))
        yield Case(f"{title} and RandomForestRegressor", _KIND, "patients", build, unseen=unseen)
    for title, build in _models().items():
        yield Case(f"OneHotEncoder and {title}", _KIND, "cellar", build, unseen=True)
    for title, build in _numbers().items():
        yield Case(f"{title} and LogisticRegression", _KIND, "cellar", build, unseen=True)
    for title, build in _regressors().items():
        yield Case(title, _KIND, "patients", build, unseen=True)
    for title, build in _documents().items():
        yield Case(title, _KIND, "sentences", build, unseen=True)


def _encoders() -> Iterator[tuple[str, Any, bool]]:
    """Yield encoders with whether they take categories that they were not fitted on."""
    filled = SimpleImputer(strategy="most_frequent")
    constant = SimpleImputer(strategy="constant", fill_value="unknown")
    ignoring = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    yield "OneHotEncoder", make_pipeline(filled, OneHotEncoder()), False
    yield "OneHotEncoder (ignore)", make_pipeline(filled, ignoring), True
    yield "OneHotEncoder (missing is a category)", ignoring, True
    yield "OneHotEncoder (constant imputed)", make_pipeline(constant, ignoring), True
    rare = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=25)
    yield "OneHotEncoder (infrequent)", make_pipeline(filled, rare), True
    dropping = OneHotEncoder(drop="first", handle_unknown="ignore")
    yield "OneHotEncoder (drop first)", make_pipeline(filled, dropping), True
    yield "OrdinalEncoder", make_pipeline(filled, OrdinalEncoder()), False
    unknown = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    yield "OrdinalEncoder (unknown is -1)", make_pipeline(filled, unknown), True
    gaps = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    yield "OrdinalEncoder (missing is -2)", gaps, True
    yield "TargetEncoder", make_pipeline(filled, TargetEncoder(random_state=0)), True


def _pipeline(encoder: Any, model: Any, numbers: Any = None) -> Build:
    """Encode texts, impute and scale numbers, and give both to the model."""
    scaled = numbers or make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return lambda: make_pipeline(make_column_transformer((encoder, _TEXTS), (scaled, _REST)), model)


def _one_hot() -> Any:
    return make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )


def _models() -> dict[str, Build]:
    def boosted(library: str, name: str, **arguments: Any) -> Any:
        return getattr(import_module(library), name)(n_estimators=30, random_state=0, **arguments)

    tree = RandomForestClassifier(20, random_state=0)
    return {
        "RandomForestClassifier": _pipeline(_one_hot(), RandomForestClassifier(30, random_state=0)),
        "GradientBoostingClassifier": _pipeline(
            _one_hot(), GradientBoostingClassifier(n_estimators=30, random_state=0)
        ),
        "HistGradientBoostingClassifier": _pipeline(
            _one_hot(), HistGradientBoostingClassifier(max_iter=30, random_state=0)
        ),
        "KNeighborsClassifier": _pipeline(_one_hot(), KNeighborsClassifier()),
        "SVC": _pipeline(_one_hot(), SVC()),
        "IsolationForest": _pipeline(_one_hot(), IsolationForest(n_estimators=50, random_state=0)),
        "GridSearchCV of a forest": _pipeline(
            _one_hot(), GridSearchCV(tree, {"max_depth": [3, 6]}, cv=3)
        ),
        "LGBMClassifier": lambda: _pipeline(
            _one_hot(), boosted("lightgbm", "LGBMClassifier", verbose=-1)
        )(),
        "CatBoostClassifier": lambda: _pipeline(
            _one_hot(), boosted("catboost", "CatBoostClassifier", verbose=False)
        )(),
    }


def _numbers() -> dict[str, Build]:
    """Name ways to prepare the numbers."""
    ways: dict[str, Any] = {
        "SimpleImputer (mean, indicator)": SimpleImputer(add_indicator=True),
        "SimpleImputer (constant)": SimpleImputer(strategy="constant", fill_value=-1.0),
        "KNNImputer": KNNImputer(),
        "MinMaxScaler": make_pipeline(SimpleImputer(), MinMaxScaler()),
        "RobustScaler": make_pipeline(SimpleImputer(), RobustScaler()),
        "QuantileTransformer": make_pipeline(SimpleImputer(), QuantileTransformer(n_quantiles=50)),
        "PolynomialFeatures": make_pipeline(
            SimpleImputer(), StandardScaler(), PolynomialFeatures(2)
        ),
        "KBinsDiscretizer": make_pipeline(
            SimpleImputer(), KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf")
        ),
    }
    model = LogisticRegression(max_iter=5000)
    return {title: _pipeline(_one_hot(), model, numbers) for title, numbers in ways.items()}


def _regressors() -> dict[str, Build]:
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    trees = HistGradientBoostingRegressor(max_iter=30, random_state=0)
    by_category = HistGradientBoostingRegressor(
        max_iter=30, random_state=0, categorical_features=[0, 1]
    )
    return {
        "OneHotEncoder and Ridge": _pipeline(_one_hot(), Ridge()),
        "OrdinalEncoder and HistGradientBoostingRegressor, gaps kept": _pipeline(
            ordinal, trees, "passthrough"
        ),
        "OrdinalEncoder and HistGradientBoostingRegressor by category": _pipeline(
            ordinal, by_category, "passthrough"
        ),
        "HistGradientBoostingRegressor (from_dtype), texts dropped": lambda: make_pipeline(
            make_column_transformer(("passthrough", _REST)), trees
        ),
    }


def _documents() -> dict[str, Build]:
    def on_sentences(vectorizer: Any, model: Any) -> Build:
        return lambda: make_pipeline(make_column_transformer((vectorizer, "sentence")), model)

    return {
        "TfidfVectorizer and LogisticRegression": on_sentences(
            TfidfVectorizer(), LogisticRegression()
        ),
        "CountVectorizer and MultinomialNB": on_sentences(CountVectorizer(), MultinomialNB()),
    }
