"""Every other flavour: it answers through MLflow's pyfunc, and has no converter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert.base import PREDICTION, Graph, NativeModel, Task
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    import pandas as pd

    from modelport.reports import Resolution


class PyfuncModel:
    """A model behind MLflow's pyfunc."""

    task: Task = "unknown"

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def answer(self, rows: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
        """Answer n rows: prediction [n] or [n, k]; a table or dict answers by its own names."""
        answers = self.predict(rows)
        if hasattr(answers, "columns"):
            answers = {str(name): answers[name].to_numpy() for name in answers.columns}
        if isinstance(answers, dict):
            return {name: np.asarray(values) for name, values in answers.items()}
        return {PREDICTION: np.asarray(answers)}

    def predict(self, rows: pd.DataFrame) -> Any:
        """Answer as `pyfunc.predict` does."""
        return self.estimator.predict(rows)


def load(folder: Path, resolution: Resolution) -> PyfuncModel:
    """Load the model through `mlflow.pyfunc`."""
    del resolution
    return PyfuncModel(tracking.load_pyfunc(folder))


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Refuse: a pyfunc is arbitrary Python."""
    del native
    raise UnsupportedModel(f"there is no ONNX converter for the flavour {resolution.flavour!r}")
