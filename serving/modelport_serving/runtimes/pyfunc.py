"""Models in any other MLflow flavour, the only module that imports mlflow and pandas.

Loading such a model may run code from its folder: `runtime_for` asks before it comes here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelport_serving.errors import InvalidInput, ModelLoadFailed
from modelport_serving.mapping import ROWS
from modelport_serving.runtimes.base import Runtime, platform
from modelport_serving.runtimes.signatures import frame, named, specs

if TYPE_CHECKING:
    from modelport_serving.contract import ServedModel
    from modelport_serving.tensors import Tensors


class PyfuncRuntime(Runtime):
    """A model behind `mlflow.pyfunc`: a DataFrame by column, or arrays, as its signature says.

    Without a signature it gets what the request gives: one array, or a DataFrame of its columns,
    or else arrays by name.
    """

    concurrency = 1  # Python models rarely promise to be thread-safe

    def __init__(self, model: ServedModel, *, max_threads: int) -> None:
        self.threads = max_threads
        self.platform = platform(model)
        self._model = model
        self._loaded: Any = None
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the model with MLflow."""
        self.inputs = specs(self._model.inputs, "input")
        self.outputs = specs(self._model.outputs, "output")
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
        answers = named(result, self.outputs)
        if unknown := [name for name in outputs if name not in answers]:
            raise InvalidInput(f"unknown output {unknown[0]!r}, the model has {list(answers)}")
        return {name: answers[name] for name in outputs} if outputs else answers

    def unload(self) -> None:
        """Forget the model."""
        self._loaded = None

    def _arguments(self, inputs: Tensors) -> Any:
        columns = self._model.inputs
        if not columns:
            return _free(inputs)
        if columns[0].shape is not None:
            unnamed = len(columns) == 1 and columns[0].name is None
            return next(iter(inputs.values())) if unnamed else inputs
        # MLflow knows columns by number where they have no name.
        names = self._loaded.metadata.get_input_schema().input_names()
        return frame(columns, names or range(len(columns)), inputs)


def _free(inputs: Tensors) -> Any:
    """Give what came without a signature: MLflow checks none of it."""
    arrays = list(inputs.values())
    if list(inputs) == [ROWS]:
        return arrays[0]
    if all(array.ndim == 1 and len(array) == len(arrays[0]) for array in arrays):
        import pandas as pd

        return pd.DataFrame(inputs)
    return arrays[0] if len(arrays) == 1 else inputs
