"""scikit-learn: pipelines and estimators, through skl2onnx.

Numeric tables become one float32 tensor `[n, columns]` named `input`, in the signature's
column order; a table with text, or a model that picks columns by name, keeps one input per
column, named as in the signature.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES, Graph, NativeModel, Task
from modelport.errors import UnsupportedModel, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from modelport.reports import Column, Resolution

_NUMERIC = {"integer", "long", "float", "double", "boolean"}


class SklearnModel:
    """A fitted scikit-learn estimator."""

    def __init__(self, estimator: Any, *, takes_table: bool) -> None:
        from sklearn.base import is_classifier, is_regressor

        self.estimator = estimator
        self.task: Task = "unknown"
        self.classes = getattr(estimator, "classes_", None)
        if is_classifier(estimator) and not isinstance(self.classes, list):  # one target
            self.task = "classification"
        elif is_regressor(estimator):
            self.task = "regression"
        self._takes_table = takes_table

    def answer(self, rows: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
        """Answer n rows: label [n] with probabilities [n, classes], or prediction [n, ...]."""
        given = self._given(rows)
        predicted = np.asarray(self.estimator.predict(given))
        if self.task != "classification":
            return {PREDICTION: predicted}
        if hasattr(self.estimator, "predict_proba"):
            return {LABEL: predicted, PROBABILITIES: self.estimator.predict_proba(given)}
        return {LABEL: predicted}

    def predict(self, rows: pd.DataFrame) -> Any:
        """Answer as `estimator.predict` does."""
        return self.estimator.predict(self._given(rows))

    def _given(self, rows: pd.DataFrame) -> Any:
        return rows if self._takes_table else rows.to_numpy()


def load(folder: Path, resolution: Resolution) -> SklearnModel:
    """Load the estimator; it gets DataFrames if it was fitted on one."""
    estimator = tracking.load_sklearn(folder)
    table = hasattr(estimator, "feature_names_in_") or any(c.name for c in resolution.inputs)
    if not hasattr(estimator, "predict"):
        raise UsageError(
            f"{type(estimator).__name__} has no `predict`, so there is nothing to serve",
            "log a model that predicts, such as a pipeline that ends with an estimator",
        )
    return SklearnModel(estimator, takes_table=table)


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Convert with skl2onnx; labels and probabilities come out as two tensors."""
    import skl2onnx
    import sklearn
    from skl2onnx import convert_sklearn

    estimator = native.estimator
    if isinstance(getattr(estimator, "classes_", None), list):
        raise UnsupportedModel("classifiers of several targets have no certificate yet")
    types, options = _initial_types(estimator, resolution), _options(native)
    try:
        proto = convert_sklearn(estimator, initial_types=types, options=options)
    except Exception as error:  # converters of any library raise what they like
        raise UnsupportedModel(
            f"skl2onnx does not convert {type(estimator).__name__} ({_first_line(error)})"
        ) from error
    _name_outputs(proto, native)
    return Graph(
        onnx=proto.SerializeToString(),
        converter=f"skl2onnx {skl2onnx.__version__}",
        libraries={"scikit-learn": sklearn.__version__, "skl2onnx": skl2onnx.__version__},
    )


def _options(native: NativeModel) -> dict[int, dict[str, bool]] | None:
    """Ask for probabilities as a tensor: skl2onnx would make a list of dicts of them."""
    from sklearn.svm import LinearSVC

    if native.task != "classification" or isinstance(native.estimator, LinearSVC):
        return None  # LinearSVC's converter refuses the option, and makes a tensor anyway
    return {id(native.estimator): {"zipmap": False}}


def _initial_types(estimator: Any, resolution: Resolution) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType

    columns = [column for column in resolution.inputs if column.name is not None]
    numeric = all(column.type in _NUMERIC for column in columns)
    if columns and not (numeric and not _picks_columns(estimator)):
        return [(str(column.name), _column_type(column)) for column in columns]
    width = len(columns) or getattr(estimator, "n_features_in_", None)
    return [("input", FloatTensorType([None, width]))]


def _picks_columns(estimator: Any) -> bool:
    from sklearn.compose import ColumnTransformer

    steps = [step for _, step in getattr(estimator, "steps", [])]
    return any(isinstance(step, ColumnTransformer) for step in [estimator, *steps])


def _column_type(column: Column) -> Any:
    from skl2onnx.common import data_types

    kinds = {
        "string": data_types.StringTensorType,
        "boolean": data_types.BooleanTensorType,
        "integer": data_types.Int64TensorType,
        "long": data_types.Int64TensorType,
        "float": data_types.FloatTensorType,
        "double": data_types.FloatTensorType,
    }
    if column.type not in kinds:
        raise UnsupportedModel(
            f"column {column.name!r} is {column.type}, which ONNX has no type for"
        )
    return kinds[column.type]([None, 1])


def _name_outputs(proto: Any, native: NativeModel) -> None:
    """Give the outputs our names, and drop those that no native answer can certify."""
    wanted = [PREDICTION]
    if native.task == "classification":
        wanted = [LABEL, PROBABILITIES] if _has_probabilities(native) else [LABEL]
    outputs = proto.graph.output
    if len(outputs) < len(wanted):
        raise UnsupportedModel(f"skl2onnx made no output for {wanted[-1]}")
    del outputs[len(wanted) :]
    for value, name in zip(outputs, wanted, strict=True):
        _rename(proto.graph, value.name, name)
        value.name = name


def _has_probabilities(native: NativeModel) -> bool:
    return native.task == "classification" and hasattr(native.estimator, "predict_proba")


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
