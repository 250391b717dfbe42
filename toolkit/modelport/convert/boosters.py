"""What XGBoost's, LightGBM's and CatBoost's models share: rows in one matrix, and their answers.

The graph of a table of numbers takes one float32 tensor `[n, columns]` named `input`. With
columns of pandas' category type, whose codes the trees see, it takes one tensor per column,
named as in the signature, and does pandas' encoding itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert import graphs
from modelport.convert.base import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    Answers,
    Graph,
    Rows,
    Task,
)
from modelport.errors import UnsupportedModel
from modelport.extras import require

if TYPE_CHECKING:
    from modelport.reports import Resolution

INPUT = "input"
_ML = "ai.onnx.ml"
_OPSET = 17

Categories = Mapping[str, Sequence[Any]]
"""The categories of pandas' category columns, in the order of their codes."""


class BoosterModel:
    """A Booster, or one of the classes with scikit-learn's interface.

    Args:
        estimator: The model.
        booster: The Booster in it; the model itself, if it is one.
        classes: What that Booster's objective tells apart; None if it does not classify.
    """

    def __init__(self, estimator: Any, booster: Any, classes: np.ndarray[Any, Any] | None) -> None:
        self.estimator = estimator
        self.booster = booster
        self.classes: np.ndarray[Any, Any] | None = None
        if hasattr(estimator, "predict_proba"):
            self.classes = np.asarray(estimator.classes_)
        elif estimator is booster:
            self.classes = classes
        self.task: Task = "regression" if self.classes is None else "classification"

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows: label [n] and probabilities [n, classes], or prediction."""
        predicted = np.asarray(self.predict(rows))
        if self.classes is None:
            return {PREDICTION: predicted}
        if self.estimator is self.booster:
            return labelled(predicted, self.classes)
        return {LABEL: predicted, PROBABILITIES: self.estimator.predict_proba(rows)}

    def predict(self, rows: Rows) -> Any:
        """Answer as the model's own `predict` does."""
        return self.estimator.predict(rows)

    def categories(self) -> Categories:
        """Return the categories of pandas' category columns, in the order of their codes."""
        return self.encoded

    @property
    def encoded(self) -> Categories:
        """The same, found once."""
        raise NotImplementedError


def labelled(shares: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> Answers:
    """Answer with labels and probabilities [n, classes], of one class's [n] or all classes'."""
    if shares.ndim == 1:
        shares = np.column_stack([1 - shares, shares])
    return {LABEL: classes[shares.argmax(axis=1)], PROBABILITIES: shares}


def matrix(rows: Rows, categories: Categories) -> np.ndarray[Any, Any]:
    """Return rows as the trees see them: [n, columns] of numbers, categories as their codes."""
    import pandas as pd

    if isinstance(rows, np.ndarray):
        return rows
    coded = {
        name: pd.Series(pd.Categorical(rows[name], list(known)).codes).replace(-1, np.nan).values
        for name, known in categories.items()
    }
    numbers: np.ndarray[Any, Any] = rows.assign(**coded).to_numpy(dtype=float, na_value=np.nan)
    return numbers


def onnxmltools() -> Any:
    """Return the converter of XGBoost's and LightGBM's models."""
    return require("onnxmltools", extra="trees")


def float_input(width: int) -> list[tuple[str, Any]]:
    """Return the one input [n, width] in the converters' own types."""
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [(INPUT, FloatTensorType([None, width]))]


def finish(proto: Any, classes: np.ndarray[Any, Any] | None) -> Any:
    """Name the outputs of a converted model; its classes are None if it does not classify."""
    from onnx import TensorProto

    graph = proto.graph
    if not any(used.domain == "" for used in proto.opset_import):
        proto.opset_import.add(domain="", version=_OPSET)  # ONNX Runtime would take its newest
    graphs.without_zipmap(graph)
    graphs.name_outputs(graph, [PREDICTION] if classes is None else [LABEL, PROBABILITIES])
    graphs.prune(graph)
    if classes is not None:
        graphs.set_shape(graph.output[1], [None, len(classes)])
        if classes.dtype == bool:
            graphs.cast_output(graph, LABEL, TensorProto.BOOL)
    return proto


def converted(
    proto: Any, resolution: Resolution, encoded: Categories, libraries: dict[str, str]
) -> Graph:
    """Return what onnxmltools made of a model, with the signature's columns as its inputs."""
    take_columns(proto, resolution, encoded)
    return Graph(
        onnx=proto.SerializeToString(),
        converter=f"onnxmltools {onnxmltools().__version__}",
        libraries=libraries,
    )


def take_columns(proto: Any, resolution: Resolution, categories: Categories) -> None:
    """Let the graph take the signature's columns instead of the matrix, and encode categories.

    Raises:
        UnsupportedModel: The signature does not name the columns.
    """
    from onnx import TensorProto, helper

    if not categories:
        return
    columns = [column for column in resolution.inputs if column.name is not None]
    if len(columns) < len(categories):
        raise UnsupportedModel("the model has category columns, which its signature does not name")
    graph, width = proto.graph, len(columns)
    (whole,) = (value.name for value in graph.input)
    nodes, values = [], []
    for column in columns:
        name, known = str(column.name), categories.get(str(column.name))
        kind = _KINDS.get(column.type, TensorProto.FLOAT)
        values.append(helper.make_tensor_value_info(name, kind, [None, 1]))
        if known is None:
            nodes.append(helper.make_node("Cast", [name], [f"{name}_seen"], to=TensorProto.FLOAT))
        else:
            nodes.append(_encode(name, known, kind))
    seen = [f"{value.name}_seen" for value in values]
    nodes.append(helper.make_node("Concat", seen, [f"{whole}_{width}"], axis=1))
    graphs.rename(graph, {whole: f"{whole}_{width}"})
    del graph.input[:]
    graph.input.extend(values)
    for node in reversed(nodes):
        graph.node.insert(0, node)
    for used in proto.opset_import:
        if used.domain == _ML:
            used.version = max(used.version, 2)  # LabelEncoder makes numbers from version 2 on


_KINDS = {"string": 8, "integer": 7, "long": 7, "boolean": 9}  # of onnx.TensorProto


def _encode(name: str, known: Sequence[Any], kind: int) -> Any:
    from onnx import TensorProto, helper

    if kind not in (TensorProto.STRING, TensorProto.INT64):
        raise UnsupportedModel(f"the categories of {name!r} are neither text nor whole numbers")
    keys: dict[str, list[Any]] = {"keys_strings": [str(value) for value in known]}
    if kind == TensorProto.INT64:
        keys = {"keys_int64s": [int(value) for value in known]}
    return helper.make_node(
        "LabelEncoder",
        [name],
        [f"{name}_seen"],
        domain=_ML,
        values_floats=[float(code) for code in range(len(known))],
        default_float=float("nan"),
        **keys,
    )
