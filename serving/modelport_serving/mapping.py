"""How a request's named tensors, rows or columns become the inputs of a model.

A model takes its inputs in one of four ways, found once when it is loaded:

- `TableMapping`: one tensor [N, features], for which the signature names the columns. This is
  what scikit-learn models become in ONNX.
- `ColumnMapping`: one tensor per signature column, each [N] or [N, 1].
- `TensorMapping`: tensors, without column names.
- `FreeMapping`: whatever it is given, for a model that does not say what it takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport_serving.errors import InvalidInput
from modelport_serving.tensors import (
    Array,
    Tensors,
    TensorSpec,
    array_of,
    cast,
    check_shape,
    datatype_of,
    from_untyped,
    packed,
)

if TYPE_CHECKING:
    from modelport_serving.contract import Column

ROWS = "input-0"
"""What rows that are no objects are called, for a model that names no inputs."""

_SHOWN_NAMES = 8
_FLOAT_TYPES = ("float", "double")


class InputMapping(ABC):
    """Turns what a request names into what the model takes, or says what does not fit."""

    @abstractmethod
    def tensors(self, given: Tensors) -> Tensors:
        """Map named arrays (V2); `InvalidInput` names the input."""

    @abstractmethod
    def rows(self, instances: list[Any]) -> Tensors:
        """Map JSON instances (V1), one per row; `InvalidInput` names instance and input."""


def mapping_for(specs: Sequence[TensorSpec], columns: Sequence[Column]) -> InputMapping:
    """Find how a model takes its inputs, from its tensors and its MLflow signature."""
    if not specs:
        return FreeMapping()
    named = [column for column in columns if column.name is not None and column.shape is None]
    names = [str(column.name) for column in named]
    if named and {spec.name for spec in specs} <= set(names) and all(map(_is_column, specs)):
        return ColumnMapping(specs, named)
    if len(specs) == 1 and len(named) == len(columns) > 0 and _is_table(specs[0], len(named)):
        return TableMapping(specs[0], named)
    return TensorMapping(specs)


class TableMapping(InputMapping):
    """One tensor [N, features] whose columns the signature names.

    Takes the tensor itself, one tensor per column, rows as lists, or rows as objects.
    """

    def __init__(self, spec: TensorSpec, columns: Sequence[Column]) -> None:
        self._spec = spec
        self._width = len(columns)
        self._columns = ColumnMapping([_column_spec(spec, column) for column in columns], columns)
        self._pick = _picker([str(column.name) for column in columns])

    def tensors(self, given: Tensors) -> Tensors:
        """Map the one tensor, or one tensor per column."""
        spec = self._spec
        array = given.get(spec.name)
        if array is None:
            return {spec.name: self._stacked(self._columns.tensors(given))}
        if len(given) > 1:
            raise _unknown_input(name for name in given if name != spec.name)
        return {spec.name: self._checked(cast(spec.name, array, spec))}

    def rows(self, instances: list[Any]) -> Tensors:
        """Map rows given as lists in column order, or as objects by column name."""
        array = self._numbers(instances)
        if array is None:
            # Something is missing, of the wrong type or length: column by column finds out what.
            array = self._stacked(self._columns.rows(instances))
        return {self._spec.name: array}

    def _numbers(self, instances: list[Any]) -> Array | None:
        """Take complete rows of numbers in one step; None if they are not that."""
        rows = instances
        try:
            if isinstance(instances[0], dict):
                if any(len(row) != self._width for row in instances):
                    return None
                rows = [list(self._pick(row)) for row in instances]
            array = packed(rows, self._spec.dtype)
        except (KeyError, TypeError):
            return None
        if array is None or len(array) != len(rows) * self._width:
            return None
        return cast(self._spec.name, array.reshape(-1, self._width), self._spec)

    def _checked(self, array: Array) -> Array:
        if array.ndim != 2 or array.shape[1] != self._width:
            raise InvalidInput(
                f"input {self._spec.name!r}: expected {self._width} features "
                f"(shape [-1, {self._width}]), shape {list(array.shape)} given"
            )
        return array

    def _stacked(self, columns: Tensors) -> Array:
        return np.stack(list(columns.values()), axis=1)


class ColumnMapping(InputMapping):
    """One tensor per column. Signature columns that the model does not take are let through."""

    def __init__(self, specs: Sequence[TensorSpec], columns: Sequence[Column]) -> None:
        by_name = {str(column.name): column for column in columns}
        self._specs = {
            spec.name: replace(spec, nullable=_takes_null(spec, by_name[spec.name]))
            for spec in specs
        }
        self._order = dict.fromkeys(by_name)
        self._optional = {name for name, column in by_name.items() if not column.required}

    def tensors(self, given: Tensors) -> Tensors:
        """Map one tensor per column, each [N] or [N, 1], in any order."""
        if unknown := [name for name in given if name not in self._order]:
            raise _unknown_input(unknown, self._order)
        self._check_missing(given, "")
        rows = {name: _row_count(name, array) for name, array in given.items()}
        count = _same_count(rows)
        return {
            name: self._column(name, spec, given.get(name), count)
            for name, spec in self._specs.items()
        }

    def rows(self, instances: list[Any]) -> Tensors:
        """Map rows given as lists in column order, or as objects by column name.

        A value may stand in a list of its own, as KServe's own servers want it.
        """
        rows = [self._ordered(row, number) for number, row in enumerate(instances)]
        columns = dict(zip(self._order, zip(*rows, strict=True), strict=True))
        return {
            name: self._fit(spec, from_untyped(name, spec, list(columns[name])), len(rows))
            for name, spec in self._specs.items()
        }

    def _ordered(self, row: object, number: int) -> Sequence[Any]:
        where = f"instance {number}: "
        if isinstance(row, dict):
            self._check_missing(row, where)
            if unknown := [name for name in row if name not in self._order]:
                raise InvalidInput(f"{where}unknown column {unknown[0]!r}")
            return [row.get(name) for name in self._order]
        if not isinstance(row, list):
            raise InvalidInput(f"{where}expected a list of values, or an object by column name")
        if len(row) != len(self._order):
            raise InvalidInput(f"{where}expected {len(self._order)} features, {len(row)} given")
        return row

    def _check_missing(self, given: Mapping[str, Any], where: str) -> None:
        for name in self._order:
            if name not in given and name not in self._optional:
                raise InvalidInput(f"{where}missing column {name!r}")

    def _column(self, name: str, spec: TensorSpec, array: Array | None, rows: int) -> Array:
        if array is None:
            array = from_untyped(name, spec, [None] * rows)
        return self._fit(spec, cast(name, array, spec), rows)

    def _fit(self, spec: TensorSpec, array: Array, rows: int) -> Array:
        _row_count(spec.name, array)
        return array.reshape((rows, *spec.shape[1:]))


class TensorMapping(InputMapping):
    """Tensors by their own names."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}

    def tensors(self, given: Tensors) -> Tensors:
        """Map each named tensor; all of the model's inputs must be there."""
        if unknown := [name for name in given if name not in self._specs]:
            raise _unknown_input(unknown, self._specs)
        if missing := [name for name in self._specs if name not in given]:
            raise InvalidInput(f"missing input {missing[0]!r}")
        return {name: self._fit(self._specs[name], array) for name, array in given.items()}

    def rows(self, instances: list[Any]) -> Tensors:
        """Map instances: values of the only input, or objects by input name."""
        if not isinstance(instances[0], dict):
            if len(self._specs) != 1:
                raise InvalidInput(f"each instance must be an object with {_list(self._specs)}")
            return {name: self._values(name, instances) for name in self._specs}
        for number, row in enumerate(instances):
            if not isinstance(row, dict) or row.keys() != self._specs.keys():
                raise InvalidInput(
                    f"instance {number}: expected an object with {_list(self._specs)}"
                )
        return {name: self._values(name, [row[name] for row in instances]) for name in self._specs}

    def _values(self, name: str, values: list[Any]) -> Array:
        spec = self._specs[name]
        return self._fit(spec, from_untyped(name, spec, values))

    def _fit(self, spec: TensorSpec, array: Array) -> Array:
        check_shape(spec.name, array, spec.shape)
        return cast(spec.name, array, spec)


class FreeMapping(InputMapping):
    """Any tensors, by any names; rows become one tensor, or a tensor for each of their columns."""

    def tensors(self, given: Tensors) -> Tensors:
        """Let every tensor through; text comes decoded."""
        return {name: cast(name, array, _untyped(name, array)) for name, array in given.items()}

    def rows(self, instances: list[Any]) -> Tensors:
        """Map rows given as values or lists, or as objects with the same columns."""
        first = instances[0]
        if not isinstance(first, dict):
            return {ROWS: _free_values(ROWS, instances)}
        for number, row in enumerate(instances):
            if not isinstance(row, dict) or row.keys() != first.keys():
                raise InvalidInput(f"instance {number}: expected an object with {_list(first)}")
        return {name: _free_values(name, [row[name] for row in instances]) for name in first}


def _free_values(name: str, values: list[Any]) -> Array:
    """Take JSON values as what they look like: numbers, booleans, or texts."""
    kinds = "biuf"
    array = array_of(name, values)
    if array.dtype.kind in kinds:
        return array
    texts = any(isinstance(item, str) for item in array.reshape(-1))
    datatype = "BYTES" if texts else "FP64"
    return from_untyped(name, TensorSpec(name, datatype, (), nullable=True), values)


def _untyped(name: str, array: Array) -> TensorSpec:
    return TensorSpec(name, datatype_of(array), array.shape, nullable=True)


def _picker(names: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """Return what takes a row's values in column order; KeyError when one is missing."""
    if len(names) == 1:
        return lambda row: (row[names[0]],)
    return itemgetter(*names)


def _is_column(spec: TensorSpec) -> bool:
    return len(spec.shape) == 1 or (len(spec.shape) == 2 and spec.shape[1] == 1)


def _is_table(spec: TensorSpec, width: int) -> bool:
    return len(spec.shape) == 2 and spec.shape[1] in (-1, width)


def _column_spec(table: TensorSpec, column: Column) -> TensorSpec:
    return TensorSpec(str(column.name), table.datatype, (-1,), nullable=table.nullable)


def _takes_null(spec: TensorSpec, column: Column) -> bool:
    """Tell whether a column may hold nulls.

    MLflow allows them in any but whole numbers and booleans. A graph, which knows no missing
    text, takes them only where the model was trained on some.
    """
    if spec.datatype == "BYTES" and not spec.nullable:
        return not column.required
    may_be = column.type in (*_FLOAT_TYPES, "string", "datetime", "binary") or not column.required
    return spec.nullable and may_be


def _row_count(name: str, array: Array) -> int:
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        return len(array)
    raise InvalidInput(
        f"input {name!r}: expected one value a row (shape [N] or [N, 1]), "
        f"shape {list(array.shape)} given"
    )


def _same_count(rows: Mapping[str, int]) -> int:
    if not rows:
        raise InvalidInput("the request has no inputs")
    first, count = next(iter(rows.items()))
    for name, other in rows.items():
        if other != count:
            raise InvalidInput(f"input {first!r} has {count} rows, but {name!r} has {other}")
    return count


def _unknown_input(unknown: Iterable[str], known: Iterable[str] = ()) -> InvalidInput:
    names = list(known)
    takes = f", the model takes {_list(names)}" if names else ""
    return InvalidInput(f"unknown input {next(iter(unknown))!r}{takes}")


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    more = ", ..." if len(shown) > _SHOWN_NAMES else ""
    return ", ".join(map(repr, shown[:_SHOWN_NAMES])) + more
