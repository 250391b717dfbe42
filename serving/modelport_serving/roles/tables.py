"""Rows of a table, column by column, and the background rows that explanations mask them with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport_serving import contract
from modelport_serving.errors import InvalidInput, ModelLoadFailed
from modelport_serving.roles.instances import from_rows

if TYPE_CHECKING:
    from modelport_serving.tensors import Array, Tensors


@dataclass(frozen=True)
class Table:
    """n rows: a column [n] for each name, in its own dtype.

    `tensor` is the name of the one tensor that they came as; None where each column is a tensor.
    """

    names: tuple[str, ...]
    columns: tuple[Array, ...]
    tensor: str | None = None

    @classmethod
    def of(cls, inputs: Tensors, names: Sequence[str]) -> Table:
        """Read a request's tensors: one per column, or one with all of them in this order.

        `InvalidInput` says what is missing or does not fit.
        """
        if inputs.keys() == set(names):
            return cls(tuple(names), tuple(_column(name, inputs[name]) for name in names))
        if len(inputs) != 1:
            missing = ", ".join(repr(name) for name in names if name not in inputs) or "none"
            raise InvalidInput(f"the rows are not those of the model: missing columns: {missing}")
        ((tensor, array),) = inputs.items()
        if array.ndim != 2 or array.shape[1] != len(names):
            raise InvalidInput(
                f"input {tensor!r}: expected rows of {len(names)} features, "
                f"shape {list(array.shape)} given"
            )
        if array.dtype != np.object_:
            return cls(tuple(names), tuple(array.T), tensor)
        # Cells of several kinds are no tensor of one dtype: each column becomes one of its own.
        return cls(tuple(names), tuple(_typed(list(column)) for column in array.T))

    def __len__(self) -> int:
        return len(self.columns[0])

    def tensors(self, columns: Sequence[Array]) -> Tensors:
        """Return columns of other rows in the form that these rows came in."""
        if self.tensor is not None:
            return {self.tensor: np.stack(columns, axis=1)}
        return dict(zip(self.names, columns, strict=True))


@dataclass(frozen=True)
class Background:
    """Rows that stand for "this feature is not known", and the output that is explained."""

    rows: Table
    output: str

    @classmethod
    def read(cls, folder: Path) -> Background:
        """Read it from a model folder; `ModelLoadFailed` says what is wrong with it."""
        path = folder / contract.BACKGROUND_FILE
        try:
            document = json.loads(path.read_text())
            rows, names = document[contract.BACKGROUND_ROWS], document[contract.BACKGROUND_COLUMNS]
            columns = list(zip(*rows, strict=True))
            names = list(map(str, range(len(columns)))) if names is None else list(map(str, names))
            output = str(document[contract.BACKGROUND_OUTPUT])
        except FileNotFoundError:
            raise ModelLoadFailed(
                f"{folder} has no {contract.BACKGROUND_FILE}: "
                "SHAP needs rows of the training data to compare with"
            ) from None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelLoadFailed(f"{path} cannot be read: {error!r}") from error
        if not columns or len(columns) != len(names):
            raise ModelLoadFailed(f"{path} has {len(names)} names for {len(columns)} columns")
        return cls(Table(tuple(names), tuple(_typed(list(column)) for column in columns)), output)


def _column(name: str, array: Array) -> Array:
    """Return one value a row; `InvalidInput` when there are more."""
    if array.ndim == 0 or array.size != len(array):
        raise InvalidInput(f"input {name!r}: expected one value a row, shape {list(array.shape)}")
    return array.reshape(-1)


def _typed(values: list[Any]) -> Array:
    """Return JSON values as numbers where they are, null among them NaN, else as objects."""
    return from_rows(values, "column")["column"] if values else np.empty(0)
