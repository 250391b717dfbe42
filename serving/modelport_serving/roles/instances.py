"""V1 instances and named tensors: any JSON rows, without a model's signature to say what they are.

Instances that are objects with the same keys are one tensor per key. All others are one tensor
named `instances`: numbers as numbers of their common shape, everything else as an object array
of what JSON held (texts, objects, lists of different lengths). Bytes are `{"b64": "..."}`, as in
TensorFlow Serving. `null` among numbers is NaN.

    [[1, 2], [3, 4]]                        {"instances": int64 [2, 2]}
    ["a text", "another"]                   {"instances": object [2]}
    [{"b64": "/9j/..."}]                    {"instances": object [1] of bytes}
    [{"size": 1.5, "colour": "red"}, ...]   {"size": float64 [N], "colour": object [N]}
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport_serving.errors import InvalidInput
from modelport_serving.mapping import InputMapping
from modelport_serving.tensors import array_of

if TYPE_CHECKING:
    from modelport_serving.tensors import Array, Tensors

INSTANCES = "instances"
"""The tensor that stands for the rows themselves, where they name nothing."""

_B64 = "b64"
_MAYBE_NUMBERS = {int, float, type(None)}


class AnyInputs(InputMapping):
    """Takes whatever a request holds: a transformer decides for itself what it is."""

    def tensors(self, given: Tensors) -> Tensors:
        """Leave the tensors (V2) as they are."""
        return given

    def rows(self, instances: list[Any]) -> Tensors:
        """Turn JSON instances (V1) into tensors."""
        try:
            return from_rows(instances)
        except RecursionError:
            raise InvalidInput("the instances are nested too deeply") from None


def from_rows(rows: Sequence[Any], name: str = INSTANCES) -> Tensors:
    """Turn JSON rows into tensors: by their common keys, else one tensor of this name."""
    keys = rows[0].keys() if rows and _is_record(rows[0]) else None
    if keys is None:
        return {name: _array(rows)}
    if not all(_is_record(row) and row.keys() == keys for row in rows):
        return {name: _objects(rows)}
    return {key: _array([row[key] for row in rows]) for key in keys}


def to_rows(tensors: Tensors) -> Any:
    """Return what orjson writes as JSON rows: objects by the tensors' names.

    The tensor that stands for the rows, and a lone one that holds several values a row, are rows
    without names: V1 predictors know no names of inputs. `InvalidInput` when the tensors have no
    rows in common.
    """
    if len(tensors) == 1:
        ((only, array),) = tensors.items()
        if only == INSTANCES or array.ndim > 1:
            return _values(array)
    counts = {array.shape[:1] for array in tensors.values()}
    if len(counts) != 1 or () in counts:
        shapes = ", ".join(f"{key!r} {list(array.shape)}" for key, array in tensors.items())
        raise InvalidInput(f"V1 needs tensors with as many rows each, given are {shapes}")
    columns = [list(_values(array)) for array in tensors.values()]
    return [dict(zip(tensors, row, strict=True)) for row in zip(*columns, strict=True)]


def _is_record(row: object) -> bool:
    """Tell an object with keys from a value: `{"b64": ...}` is one, of bytes."""
    return isinstance(row, dict) and bool(row) and row.keys() != {_B64}


def _array(values: Sequence[Any]) -> Array:
    """Build an array from JSON values without bending one: no text from a number."""
    try:
        array = array_of(INSTANCES, list(values))
    except InvalidInput:  # lists of different lengths
        return _objects(values)
    return array if array.dtype.kind in "fiub" else _narrowed(_objects(values))


def _objects(values: Sequence[Any]) -> Array:
    """Keep JSON values as they are, in their common shape."""
    plain = [_plain(value) for value in values]
    try:
        return np.array(plain, np.object_)
    except ValueError:
        array = np.empty(len(plain), np.object_)
        array[:] = plain
        return array


def _narrowed(array: Array) -> Array:
    """Turn numbers among which some are missing into floats."""
    kinds = {type(item) for item in array.reshape(-1)}
    some_missing = kinds <= _MAYBE_NUMBERS and len(kinds) > 1
    return array.astype(np.float64) if some_missing else array


def _plain(value: Any) -> Any:
    """Decode the bytes within a JSON value."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_B64}:
        return _decoded(value[_B64])
    return {key: _plain(item) for key, item in value.items()}


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, binascii.Error, ValueError):
        raise InvalidInput("an instance's 'b64' is not base64 text") from None


def _values(array: Array) -> Any:
    """Return the rows of one array as orjson writes them."""
    if array.dtype.kind == "O":
        return [_encoded(item) for item in array.tolist()]
    return np.ascontiguousarray(array)


def _encoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return {_B64: base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, dict):
        return {key: _encoded(item) for key, item in value.items()}
    return value
