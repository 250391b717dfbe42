"""What the graph of a scikit-learn model takes, as the MLflow signature has it.

A table of numbers becomes one float32 tensor `[n, columns]` named `input`, in the signature's
column order. A table with text, or a model that picks or encodes columns, keeps one input per
column, named and typed as in the signature. Whole numbers reach encoders as such: float32 would
make one category of two large ones. Numbers that trees see scaled are float64, as
`sklearn_exact` says. A signature of an array stays one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelport.convert import sklearn_copies, sklearn_exact
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.reports import Column, Resolution

_NUMERIC = {"integer", "long", "float", "double", "boolean"}
_WHOLE = {"integer", "long"}

Types = list[tuple[str, Any]]


def of(estimator: Any, resolution: Resolution) -> tuple[Types, dict[str, int]]:
    """Return skl2onnx's types of the inputs, and which inputs are to be cast to them.

    Casts are from a type of `onnx.TensorProto`, by the input's name.

    Raises:
        UnsupportedModel: The signature has something that skl2onnx does not take.
    """
    if resolution.inputs and resolution.inputs[0].shape is not None:
        return [_tensor(resolution.inputs)], {}
    columns = [column for column in resolution.inputs if column.name is not None]
    numeric = all(column.type in _NUMERIC for column in columns)
    if columns and not (numeric and not _sees_columns(estimator)):
        encoded, exact = _encoded(estimator), sklearn_exact.columns(estimator)
        types = [(str(column.name), _column(column, encoded, exact)) for column in columns]
        casts = {str(column.name): _cast(column, encoded) for column in columns}
        return types, {name: datatype for name, datatype in casts.items() if datatype}
    width = len(columns) or getattr(estimator, "n_features_in_", None)
    return [("input", _floats(estimator)([None, width]))], {}


def _floats(estimator: Any) -> Any:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn.gaussian_process import GaussianProcessRegressor

    # Its kernel matrices have no answer in float32, as skl2onnx's documentation says.
    parts = sklearn_copies.parts(estimator)
    exact = any(isinstance(part, GaussianProcessRegressor) for part in parts)
    exact |= sklearn_exact.takes_all(estimator)
    return DoubleTensorType if exact else FloatTensorType


def _sees_columns(estimator: Any) -> bool:
    """Tell whether some part picks columns by name, or encodes them one by one."""
    from sklearn.compose import ColumnTransformer

    kinds = (ColumnTransformer, *_encoders())
    return any(isinstance(part, kinds) for part in sklearn_copies.parts(estimator))


def _encoded(estimator: Any) -> set[str] | None:
    """Return the columns that transformers encode as categories; None for all of them."""
    from sklearn.compose import ColumnTransformer

    fitted = (p for p in sklearn_copies.parts(estimator) if hasattr(p, "transformers_"))
    pickers = [part for part in fitted if isinstance(part, ColumnTransformer)]
    if not pickers:
        return None
    return {
        str(picker.feature_names_in_[index])
        for picker in pickers
        if hasattr(picker, "feature_names_in_")
        for name, transformer, _ in picker.transformers_
        if any(isinstance(part, _encoders()) for part in sklearn_copies.parts(transformer))
        for index in picker._transformer_to_input_indices[name]
    }


def _encoders() -> tuple[type, ...]:
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    return OneHotEncoder, OrdinalEncoder, TargetEncoder


def _tensor(columns: Sequence[Column]) -> tuple[str, Any]:
    from skl2onnx.common import data_types

    column, *others = columns
    if others or column.shape is None or len(column.shape) != 2:
        raise UnsupportedModel("skl2onnx takes one tensor of rows and columns, and no other")
    kinds = {
        "int64": data_types.Int64TensorType,
        "int32": data_types.Int64TensorType,
        "object": data_types.StringTensorType,
        "str": data_types.StringTensorType,
    }
    kind = column.type.removeprefix("tensor(").removesuffix(")")
    width = column.shape[1] if column.shape[1] > 0 else None
    return column.name or "input", kinds.get(kind, data_types.FloatTensorType)([None, width])


def _column(column: Column, encoded: set[str] | None, exact: set[str]) -> Any:
    from skl2onnx.common import data_types

    if column.type == "string":
        return data_types.StringTensorType([None, 1])
    if column.type not in _NUMERIC:
        raise UnsupportedModel(
            f"column {column.name!r} is {column.type}, which ONNX has no type for"
        )
    if column.name in exact:
        return data_types.DoubleTensorType([None, 1])
    if _is_whole(column) and (encoded is None or column.name in encoded):
        return data_types.Int64TensorType([None, 1])
    return data_types.FloatTensorType([None, 1])


def _cast(column: Column, encoded: set[str] | None) -> int | None:
    from onnx import TensorProto

    if column.type == "boolean":
        return int(TensorProto.BOOL)
    if _is_whole(column) and encoded is not None and column.name not in encoded:
        return int(TensorProto.INT64)
    return None


def _is_whole(column: Column) -> bool:
    """Tell whether a column holds whole numbers alone: missing ones are NaN, which are floats."""
    return column.type in _WHOLE and column.required
