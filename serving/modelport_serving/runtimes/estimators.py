"""What the libraries of tables share: rows in one array or DataFrame, labels and probabilities.

A classifier answers `label`, and `probabilities` if it has any; any other model `prediction`:
the names that a converted model's outputs have. A signature that names its one output says what
the first of them is called. A plain model answers what `predict` does, as in KServe's servers.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport_serving.contract import Column
from modelport_serving.errors import InvalidInput, ModelLoadFailed
from modelport_serving.runtimes.base import Runtime, platform
from modelport_serving.runtimes.signatures import DATATYPES, frame, specs, tensor, unnamed
from modelport_serving.tensors import Array, Tensors, TensorSpec, datatype_of

if TYPE_CHECKING:
    from modelport_serving.contract import ServedModel

LABEL = "label"
PROBABILITIES = "probabilities"
PREDICTION = "prediction"
_TABLE = "input"
_PREDICT_PROBA = "PREDICT_PROBA"
"""KServe's environment variable that makes its scikit-learn server answer probabilities."""

_NUMBERS = ("boolean", "integer", "long", "float", "double")

Rows = Any
"""An array [N, features], or a DataFrame."""


class EstimatorRuntime(Runtime):
    """A model with `predict`, and with `predict_proba` if it classifies."""

    def __init__(self, model: ServedModel, *, max_threads: int) -> None:
        self.platform = platform(model)
        self._model = model
        self._max_threads = max_threads
        self._rows: Callable[[Tensors], Rows]
        self._answers: dict[str, Callable[[Rows], Any]] = {}

    @abstractmethod
    def _open(self) -> Any:
        """Load the estimator from the model's file."""

    def _takes_arrays(self, estimator: Any) -> bool:  # noqa: ARG002 - some know better
        """Tell whether an array does for a table of numbers, where columns have no names."""
        return True

    def _feature_names(self, estimator: Any) -> list[str] | None:
        """Return the columns that the estimator was trained on, in their order, if it knows."""
        names = getattr(estimator, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]

    def load(self) -> None:
        """Load the estimator, and find how it takes rows and what it answers."""
        # Arrays are given to models that were trained on DataFrames: on purpose, in their order.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        try:
            estimator = self._open()
        except ModelLoadFailed:
            raise
        except Exception as error:
            raise ModelLoadFailed(
                f"{self._model.folder} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        self.inputs = self._find_inputs(estimator)
        self._answers = self._find_answers(estimator)
        self.outputs = self._find_outputs(estimator)

    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Answer rows; only what is asked for is computed."""
        rows = self._rows(inputs)
        return {name: tensor(self._answers[name](rows)) for name in outputs or self._answers}

    def unload(self) -> None:
        """Forget the estimator."""
        self._answers = {}

    def _find_inputs(self, estimator: Any) -> tuple[TensorSpec, ...]:
        columns = self._model.inputs
        if not columns:
            return self._find_unsigned_inputs(estimator)
        if columns[0].shape is not None:
            self._rows = _only
            return specs(columns[:1], "input")
        kinds = {column.type for column in columns}
        if kinds <= set(_NUMBERS) and self._takes_arrays(estimator):
            return self._take_arrays(columns, kinds, self._feature_names(estimator))
        names = [number if c.name is None else c.name for number, c in enumerate(columns)]
        self._rows = lambda inputs: frame(columns, names, inputs)
        return specs(columns, "input")

    def _find_unsigned_inputs(self, estimator: Any) -> tuple[TensorSpec, ...]:
        """Take a table of numbers, or anything where the estimator does not ask for one."""
        names = self._feature_names(estimator) or []
        width = getattr(estimator, "n_features_in_", None)
        if width is None or not self._takes_arrays(estimator):
            self._rows = lambda inputs: _as_given(inputs, names)
            return ()
        self._rows = _only
        if len(set(names)) == width:
            self.columns = tuple(Column(name, "double") for name in names)
        table = unnamed("input") if self._model.plain else _TABLE
        return (TensorSpec(table, "FP64", (-1, width), nullable=True),)

    def _take_arrays(
        self, columns: Sequence[Column], kinds: set[str], known: list[str] | None
    ) -> tuple[TensorSpec, ...]:
        """Take numbers of one type as one tensor [N, features], others as one tensor a column."""
        order = _order([column.name for column in columns], known)
        if len(kinds) == 1:
            self._rows = _only if order is None else lambda inputs: _only(inputs)[:, order]
            datatype = DATATYPES[columns[0].type]
            return (TensorSpec(_TABLE, datatype, (-1, len(columns)), datatype.startswith("FP")),)
        self._rows = lambda inputs: _stacked(inputs, order)
        return specs(columns, "input")

    def _find_answers(self, estimator: Any) -> dict[str, Callable[[Rows], Any]]:
        if self._model.plain:
            wanted = os.environ.get(_PREDICT_PROBA, "").lower() == "true"
            probable = wanted and hasattr(estimator, "predict_proba")
            return {unnamed("output"): estimator.predict_proba if probable else estimator.predict}
        own = self._model.outputs
        named = own[0].name if len(own) == 1 else None
        if not _classifies(estimator):
            return {named or PREDICTION: estimator.predict}
        answers = {named or LABEL: estimator.predict}
        if hasattr(estimator, "predict_proba"):
            answers[PROBABILITIES] = estimator.predict_proba
        return answers

    def _find_outputs(self, estimator: Any) -> tuple[TensorSpec, ...]:
        """Say what it answers: as it answers a row of zeros, or as the signature says."""
        try:
            row = {spec.name: _zero(spec) for spec in self.inputs}
            answers = self.predict(row, ())
        except Exception:  # noqa: BLE001 - zeros may make no sense to a model
            return self._said_outputs(estimator)
        return tuple(
            TensorSpec(name, datatype_of(array), (-1, *array.shape[1:]))
            for name, array in answers.items()
        )

    def _said_outputs(self, estimator: Any) -> tuple[TensorSpec, ...]:
        classes = getattr(estimator, "classes_", None)
        said = specs(self._model.outputs, "output")
        datatype, shape = (said[0].datatype, said[0].shape) if said else ("FP64", (-1,))
        if classes is not None and _classifies(estimator):
            datatype = datatype_of(tensor(classes))
        return tuple(
            TensorSpec(name, "FP64", (-1, len(np.asarray(classes))))
            if answer == getattr(estimator, "predict_proba", None)
            else TensorSpec(name, datatype, shape)
            for name, answer in self._answers.items()
        )


def add_code(model: ServedModel) -> None:
    """Let the model's file import the modules that were logged with it."""
    if model.code is not None and str(model.code) not in sys.path:
        sys.path.insert(0, str(model.code))


def unpickled(model: ServedModel) -> Any:
    """Load an estimator from a plain file, or as MLflow wrote it: skops, cloudpickle or pickle."""
    add_code(model)
    file = model.model_file
    if file is None:
        raise ModelLoadFailed(f"{model.folder} does not name its model file")
    if model.plain:
        import joblib

        return joblib.load(file)  # pickles too
    if model.config.get("serialization_format") == "skops":
        import skops.io

        return skops.io.load(file, trusted=model.config.get("skops_trusted_types"))
    with file.open("rb") as stream:
        return pickle.load(stream)  # noqa: S301 - only comes here if pickles are allowed


def _classifies(estimator: Any) -> bool:
    """Tell whether it is a classifier of one target; several have no common form."""
    if isinstance(getattr(estimator, "classes_", None), list):
        return False
    try:
        from sklearn.base import is_classifier

        return bool(is_classifier(estimator))
    except (ImportError, AttributeError):  # nothing of scikit-learn's kind
        return False


def _order(given: Sequence[str | None], known: list[str] | None) -> list[int] | None:
    """Return where the estimator's features are among the columns, if they are not in order."""
    if known is None or known == given or set(known) != set(given):
        return None
    return [given.index(name) for name in known]


def _only(inputs: Tensors) -> Array:
    return next(iter(inputs.values()))


def _as_given(inputs: Tensors, known: Sequence[str]) -> Rows:
    """Give one tensor as it is, and columns, each [N] or [N, 1], as a DataFrame."""
    if not inputs:
        raise InvalidInput("the request has no inputs")
    first = _only(inputs)
    if len(inputs) == 1 and not inputs.keys() & set(known):
        return first
    for name, array in inputs.items():
        if array.shape not in ((first.size,), (first.size, 1)):
            raise InvalidInput(
                f"input {name!r}: expected one value for each of {first.size} rows, "
                f"shape {list(array.shape)} given"
            )
    columns = [Column(name, "string") for name in inputs]
    return frame(columns, list(inputs), {n: array.reshape(-1) for n, array in inputs.items()})


def _stacked(inputs: Tensors, order: list[int] | None) -> Array:
    """Stack columns of numbers; 64-bit floats hold what such models tell apart."""
    rows = np.column_stack(list(inputs.values())).astype(np.float64, copy=False)
    return rows if order is None else rows[:, order]


def _zero(spec: TensorSpec) -> Array:
    shape = [1 if size == -1 else size for size in spec.shape]
    return np.zeros(shape, spec.dtype) if spec.datatype != "BYTES" else np.full(shape, "", "O")
