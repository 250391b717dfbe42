"""What every flavour's module offers, and what a loaded model answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from modelport.convert.trees import Grove
    from modelport.reports import Precision, Resolution

Task = Literal["classification", "regression", "unknown"]

Rows: TypeAlias = "pd.DataFrame | np.ndarray[Any, Any]"
"""n rows: a DataFrame, or an array [n, ...] for a model that takes one tensor."""

Answers: TypeAlias = "dict[str, np.ndarray[Any, Any]]"
"""What n rows are answered: every output by name, each of shape [n, ...]."""

# The names of outputs, in native answers and in the converted graph alike. A classifier of
# several targets answers `label_0`, `probabilities_0`, `label_1`, ..., in the targets' order.
LABEL = "label"
PROBABILITIES = "probabilities"
PREDICTION = "prediction"
SCORES = "scores"  # of an outlier detector: below 0 is an outlier


class Model(Protocol):
    """A model that answers rows, native or converted."""

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows: every output by name, each of shape [n], [n, k] or [n, ...]."""
        ...

    def predict(self, rows: Rows) -> Any:
        """Answer as the model's own `predict` does: what its users call, and what is timed."""
        ...


class NativeModel(Model, Protocol):
    """A model in the library that trained it."""

    task: Task

    @property
    def estimator(self) -> Any:
        """The library's own object."""
        ...

    def groves(self) -> Sequence[Grove]:
        """Return the decision trees in the model; none for a model without trees."""
        ...

    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Return the categories that the model's encoders know, by input column."""
        ...


@dataclass(frozen=True)
class Graph:
    """A converted model: serialized ONNX with where it came from."""

    onnx: bytes
    converter: str
    libraries: dict[str, str] = field(default_factory=dict)
    precision: Precision = "float32"


class Flavour(Protocol):
    """A module of this package: how models of one MLflow flavour are loaded and converted."""

    def load(self, folder: Path, resolution: Resolution) -> NativeModel:
        """Load the native model from its MLflow folder."""
        ...

    def convert(self, native: NativeModel, resolution: Resolution) -> Graph:
        """Convert to ONNX; `UnsupportedModel` says why that cannot be done."""
        ...


def first_line(error: BaseException) -> str:
    """Return what a library says went wrong, in a line that fits into a sentence."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200].rstrip(". ")
