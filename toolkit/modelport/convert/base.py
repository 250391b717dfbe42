"""What every flavour's module offers, and what a loaded model answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from modelport.reports import Resolution

Task = Literal["classification", "regression", "unknown"]

# The names of outputs, in native answers and in the converted graph alike.
LABEL = "label"
PROBABILITIES = "probabilities"
PREDICTION = "prediction"


class Model(Protocol):
    """A model that answers rows, native or converted."""

    def answer(self, rows: pd.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
        """Answer n rows: every output by name, each of shape [n] or [n, k]."""
        ...

    def predict(self, rows: pd.DataFrame) -> Any:
        """Answer as the model's own `predict` does: what its users call, and what is timed."""
        ...


class NativeModel(Model, Protocol):
    """A model in the library that trained it."""

    task: Task

    @property
    def estimator(self) -> Any:
        """The library's own object."""
        ...


@dataclass(frozen=True)
class Graph:
    """A converted model: serialized ONNX with where it came from."""

    onnx: bytes
    converter: str
    libraries: dict[str, str] = field(default_factory=dict)


class Flavour(Protocol):
    """A module of this package: how models of one MLflow flavour are loaded and converted."""

    def load(self, folder: Path, resolution: Resolution) -> NativeModel:
        """Load the native model from its MLflow folder."""
        ...

    def convert(self, native: NativeModel, resolution: Resolution) -> Graph:
        """Convert to ONNX; `UnsupportedModel` says why that cannot be done."""
        ...
