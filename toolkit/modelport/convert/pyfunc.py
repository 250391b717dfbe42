"""Every other flavour: it answers through MLflow's pyfunc, and has no converter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert.base import PREDICTION, Answers, Graph, NativeModel, Rows, Task
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.convert.trees import Grove
    from modelport.reports import Resolution


class PyfuncModel:
    """A model behind MLflow's pyfunc."""

    task: Task = "unknown"

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows: prediction [n] or [n, k]; a table or dict answers by its own names."""
        answers = self.predict(rows)
        if hasattr(answers, "columns"):
            answers = {str(name): answers[name].to_numpy() for name in answers.columns}
        if isinstance(answers, dict):
            return {name: np.asarray(values) for name, values in answers.items()}
        return {PREDICTION: np.asarray(answers)}

    def predict(self, rows: Rows) -> Any:
        """Answer as `pyfunc.predict` does."""
        return self.estimator.predict(rows)

    def groves(self) -> Sequence[Grove]:
        """Return none: a pyfunc is closed."""
        return ()

    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Return none: a pyfunc is closed."""
        return {}


def load(folder: Path, resolution: Resolution) -> PyfuncModel:
    """Load the model through `mlflow.pyfunc`."""
    del resolution
    return PyfuncModel(tracking.load_model("pyfunc", folder))


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Refuse: what only MLflow's pyfunc can load is arbitrary Python to us."""
    del native
    if resolution.flavour == "python_function":
        raise UnsupportedModel("the model is Python code of its own, which has no ONNX form")
    raise UnsupportedModel(f"there is no ONNX converter for the flavour {resolution.flavour!r}")
