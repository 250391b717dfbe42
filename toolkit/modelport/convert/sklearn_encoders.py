"""Encoders and imputers that skl2onnx converts but for one of their options.

- A OneHotEncoder with rare categories: its graph refuses what it does not know.
- A SimpleImputer with `add_indicator`: its graph leaves out the columns that tell what was missing.
- A KBinsDiscretizer: its graph fails on values beyond those that it was fitted on.
- Selections of the first column alone: its graph answers zeros.

All others go to skl2onnx's own converters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modelport.convert.sklearn_nodes import DOUBLE, FLOAT, INT64, ML, Nodes, replace
from modelport.errors import UnsupportedModel


def register() -> None:
    """Let skl2onnx convert them this way."""
    from sklearn import feature_selection
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder

    replace(OneHotEncoder, "SklearnOneHotEncoder", _one_hot, _has_rare, _of_width(_one_hot_width))
    shape = _of_width(_imputed_width)
    replace(SimpleImputer, "SklearnSimpleImputer", _impute, _has_indicator, shape)
    replace(KBinsDiscretizer, "SklearnKBinsDiscretizer", _bin)
    for name in _SELECTIONS:
        replace(getattr(feature_selection, name), f"Sklearn{name}", _select)


_SELECTIONS = (
    "GenericUnivariateSelect",
    "RFE",
    "RFECV",
    "SelectFdr",
    "SelectFpr",
    "SelectFromModel",
    "SelectFwe",
    "SelectKBest",
    "SelectPercentile",
    "VarianceThreshold",
)


def _of_width(width: Callable[[Any], int]) -> Callable[[Any], None]:
    """Return what gives an output the number of columns that an estimator makes."""

    def shape(operator: Any) -> None:
        rows = operator.inputs[0].type.shape[0]
        operator.outputs[0].type.shape = [rows, width(operator.raw_operator)]

    return shape


def _has_rare(encoder: Any) -> bool:
    return bool(encoder._infrequent_enabled) and encoder.handle_unknown != "error"


def _one_hot_width(encoder: Any) -> int:
    return len(encoder.get_feature_names_out())


def _one_hot(nodes: Nodes) -> None:
    """Make ones of the frequent categories; what is none of them is rare, known or not."""
    encoder = nodes.estimator
    if encoder.drop is not None:
        raise UnsupportedModel("skl2onnx cannot let a OneHotEncoder drop categories and join rare")
    columns = nodes.columns()
    encoded = []
    for column, known, rare in zip(
        columns, encoder.categories_, encoder.infrequent_categories_, strict=True
    ):
        frequent = known if rare is None else known[~np.isin(known, rare)]
        ones = _ones(nodes, column, frequent)
        encoded.append(ones)
        if rare is not None:
            other = _sum(nodes, ones)
            encoded.append(nodes.add("Sub", nodes.add("Cast", np.array(1.0), to=FLOAT), other))
    nodes.answer(nodes.add("Concat", *encoded, axis=1), 0)


def _ones(nodes: Nodes, column: str, known: Any) -> str:
    """Return a column [n, 1] as [n, categories] of zeros and ones."""
    attributes: dict[str, Any] = {"zeros": 1}
    if known.dtype.kind in "OUT":
        attributes["cats_strings"] = [str(one).encode() for one in known]
    elif np.array_equal(known, known.astype(int)):
        column = nodes.add("Cast", column, to=INT64)
        attributes["cats_int64s"] = known.astype(int).tolist()
    else:
        raise UnsupportedModel("skl2onnx encodes texts and whole numbers, and no others")
    ones = nodes.add("OneHotEncoder", column, domain=ML, **attributes)
    return nodes.add("Reshape", ones, np.array([-1, len(known)]))


def _has_indicator(imputer: Any) -> bool:
    return getattr(imputer, "indicator_", None) is not None


def _imputed_width(imputer: Any) -> int:
    kept = ~_is_nan(imputer.statistics_)
    return int(kept.sum()) + len(imputer.indicator_.features_)


def _impute(nodes: Nodes) -> None:
    """Fill in what is missing, and say where it was."""
    imputer = nodes.estimator
    statistics = imputer.statistics_
    if statistics.dtype.kind not in "fi" or not _is_nan(imputer.missing_values):
        raise UnsupportedModel("skl2onnx leaves out add_indicator of all but missing numbers")
    rows = nodes.matrix()
    missing = nodes.add("IsNaN", rows)
    filled = nodes.add("Where", missing, np.asarray(statistics, dtype=float), rows)
    kept = np.flatnonzero(~_is_nan(statistics))
    if len(kept) < len(statistics):  # columns without any value are dropped
        filled = nodes.add("Gather", filled, kept, axis=1)
    told = nodes.add("Gather", missing, np.asarray(imputer.indicator_.features_, int), axis=1)
    told = nodes.add("Cast", told, to=DOUBLE)
    nodes.answer(nodes.add("Concat", filled, told, axis=1), 0)


def _is_nan(values: Any) -> Any:
    return np.isnan(np.asarray(values, dtype=float))


def _select(nodes: Nodes) -> None:
    places = np.flatnonzero(nodes.estimator.get_support())
    nodes.answer(nodes.add("Gather", nodes.joined(), places, axis=1), 0)


def _bin(nodes: Nodes) -> None:
    """Count the edges that a value has reached; compared as float32, which the values are."""
    binner = nodes.estimator
    rows, encoded = nodes.matrix(), []
    for place, edges in enumerate(binner.bin_edges_):
        value = nodes.add("Gather", rows, np.array([place]), axis=1)
        reached = np.append(-np.inf, edges[1:-1]).astype(np.float32).astype(float)
        above = nodes.add("Cast", nodes.add("GreaterOrEqual", value, reached), to=DOUBLE)
        number = nodes.add("Sub", _sum(nodes, above), np.array(1.0))
        if binner.encode != "ordinal":
            number = nodes.add("Equal", number, np.arange(len(reached), dtype=float))
        encoded.append(nodes.add("Cast", number, to=FLOAT))
    nodes.answer(nodes.add("Concat", *encoded, axis=1), 0)


def _sum(nodes: Nodes, columns: str) -> str:
    return nodes.add("ReduceSum", columns, np.array([1]), keepdims=1)
