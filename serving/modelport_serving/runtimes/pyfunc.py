"""Models in any other MLflow flavour, the only module that imports mlflow and pandas.

Loading such a model may run code from its folder: `runtime_for` asks before it comes here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport_serving.errors import InvalidInput, ModelLoadFailed
from modelport_serving.runtimes.base import Runtime
from modelport_serving.tensors import DTYPES, Array, Tensors, TensorSpec, datatype_of

if TYPE_CHECKING:
    from modelport_serving.contract import Column, ServedModel

_DEFAULT_OUTPUT = "output-0"
_DATATYPES = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
    "tensor(str)": "BYTES",
}
_DATATYPES |= {f"tensor({dtype.name})": datatype for datatype, dtype in DTYPES.items()}


class PyfuncRuntime(Runtime):
    """A model behind `mlflow.pyfunc`: a DataFrame by column, or arrays, as its signature says."""

    def __init__(self, model: ServedModel) -> None:
        self.platform = f"mlflow_{model.flavour}"
        self._model = model
        self._loaded: Any = None
        # Python models rarely promise to be thread-safe.
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the model with MLflow. It needs a signature: requests are checked against it."""
        if not self._model.inputs:
            raise ModelLoadFailed(
                f"{self._model.folder} has no signature, so requests cannot be checked: "
                "log the model again with signature=mlflow.models.infer_signature(inputs, outputs)"
            )
        self.inputs = _specs(self._model.inputs, "input")
        self.outputs = _specs(self._model.outputs, "output")
        # A server tells no third party what it serves.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            import mlflow.pyfunc

            self._loaded = mlflow.pyfunc.load_model(str(self._model.folder))
        except Exception as error:
            raise ModelLoadFailed(f"MLflow cannot load {self._model.folder}: {error}") from error

    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Run the model, one request at a time."""
        with self._lock:
            result = self._loaded.predict(self._arguments(inputs))
        answers = _named(result, self.outputs)
        if unknown := [name for name in outputs if name not in answers]:
            raise InvalidInput(f"unknown output {unknown[0]!r}, the model has {list(answers)}")
        return {name: answers[name] for name in outputs} if outputs else answers

    def unload(self) -> None:
        """Forget the model."""
        self._loaded = None

    def _arguments(self, inputs: Tensors) -> Any:
        columns = self._model.inputs
        if columns[0].shape is not None:
            unnamed = len(columns) == 1 and columns[0].name is None
            return next(iter(inputs.values())) if unnamed else inputs
        import pandas as pd

        return pd.DataFrame(
            {
                column.name or number: _column(inputs[spec.name], column)
                for number, (spec, column) in enumerate(zip(self.inputs, columns, strict=True))
            }
        )


def _specs(columns: Iterable[Column], side: str) -> tuple[TensorSpec, ...]:
    return tuple(_spec(column, number, side) for number, column in enumerate(columns))


def _spec(column: Column, number: int, side: str) -> TensorSpec:
    name = column.name or f"{side}-{number}"
    datatype = _DATATYPES.get(column.type)
    if datatype is None:
        raise ModelLoadFailed(
            f"{side} {name!r} is of type {column.type}, which the Open Inference Protocol "
            "cannot carry: log the model with a signature of plain columns or tensors"
        )
    nullable = column.shape is None and datatype in ("FP32", "FP64", "BYTES")
    return TensorSpec(name, datatype, column.shape or (-1,), nullable)


def _column(array: Array, column: Column) -> Any:
    if column.type != "datetime":
        return array
    import pandas as pd

    return pd.to_datetime(pd.Series(array))


def _named(result: Any, specs: Sequence[TensorSpec]) -> Tensors:
    """Name what the model returned: by its own names, else by the signature's."""
    if hasattr(result, "columns"):
        return {str(name): _tensor(result[name]) for name in result.columns}
    if isinstance(result, Mapping):
        return {str(name): _tensor(values) for name, values in result.items()}
    return {specs[0].name if len(specs) == 1 else _DEFAULT_OUTPUT: _tensor(result)}


def _tensor(values: Any) -> Array:
    """Return values as an array of an OIP datatype; dates and texts become strings."""
    array = np.asarray(values)
    if array.dtype.kind in "MUS":
        array = array.astype(np.str_).astype(np.object_)
    datatype_of(array)
    return array
