"""What an MLflow signature says of a model's tensors, and tables made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport_serving.errors import InvalidInput, ModelLoadFailed
from modelport_serving.tensors import DTYPES, Array, Tensors, TensorSpec, datatype_of

if TYPE_CHECKING:
    from modelport_serving.contract import Column

DATATYPES = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
    "tensor(str)": "BYTES",
    "tensor(object)": "BYTES",
}
DATATYPES |= {f"tensor({dtype.name})": datatype for datatype, dtype in DTYPES.items()}


def unnamed(side: str, number: int = 0) -> str:
    """Return what a tensor is called that the signature does not name."""
    return f"{side}-{number}"


def specs(columns: Iterable[Column], side: str) -> tuple[TensorSpec, ...]:
    """Return the tensors of one side, `input` or `output`; `ModelLoadFailed` if OIP has none."""
    return tuple(_spec(column, number, side) for number, column in enumerate(columns))


def frame(columns: Sequence[Column], names: Sequence[object], inputs: Tensors) -> Any:
    """Make a DataFrame of one tensor per column; `names` are what the model calls the columns.

    Texts become what pandas makes of them, so that a missing one is what it was in training.
    `InvalidInput` names the column with a date that is none.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            name: _series(array, column)
            for name, column, array in zip(names, columns, inputs.values(), strict=True)
        }
    )


def named(result: Any, outputs: Sequence[TensorSpec]) -> Tensors:
    """Name what a model returned: by its own names, else by the signature's."""
    if hasattr(result, "columns"):
        return {str(name): tensor(result[name]) for name in result.columns}
    if isinstance(result, Mapping):
        return {str(name): tensor(values) for name, values in result.items()}
    return {outputs[0].name if len(outputs) == 1 else unnamed("output"): tensor(result)}


def tensor(values: Any) -> Array:
    """Return values as an array of an OIP datatype; dates and texts become strings."""
    array = np.asarray(values)
    if array.dtype.kind in "MUS":
        array = array.astype(np.str_).astype(np.object_)
    datatype_of(array)
    return array


def _spec(column: Column, number: int, side: str) -> TensorSpec:
    name = column.name or unnamed(side, number)
    datatype = DATATYPES.get(column.type)
    if datatype is None:
        raise ModelLoadFailed(
            f"{side} {name!r} is of type {column.type}, which the Open Inference Protocol "
            "cannot carry: log the model with a signature of plain columns or tensors"
        )
    nullable = column.shape is None and datatype in ("FP32", "FP64", "BYTES")
    return TensorSpec(name, datatype, column.shape or (-1,), nullable)


def _series(array: Array, column: Column) -> Any:
    import pandas as pd

    if array.dtype.kind != "O":
        return array
    texts = pd.Series(array.tolist())
    if column.type != "datetime":
        return texts
    try:
        return pd.to_datetime(texts, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"input {column.name!r}: expected dates as in ISO 8601 (2026-01-31T12:00:00): {error}"
        ) from None
