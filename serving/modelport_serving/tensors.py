"""Open Inference Protocol tensors and numpy arrays: JSON, and the binary tensor extension.

A tensor in memory is a C-contiguous numpy array. BYTES tensors are object arrays: of `str` when
they come from JSON, of `bytes` when they come from the wire.

Source: the Open Inference Protocol (REST) and Triton's `binary_tensor_data` extension.
"""

from __future__ import annotations

import base64
import math
import struct
from array import array as packed_array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelport_serving.errors import InvalidInput, NotSupported

Array = NDArray[Any]
Tensors = dict[str, Array]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
_DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
_JSON_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}  # what JSON may hold, by numpy kind
_SAFE_KINDS = {"b": "b", "i": "iub", "u": "iub", "f": "fiub"}  # what a model's input takes
_KIND_NAMES = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}
_FLOAT32 = np.dtype(np.float32)
_PACKED = {
    dtype: (code, np.dtype(code))
    for kind, code in (("f", "d"), ("i", "q"), ("u", "Q"))
    for dtype in DTYPES.values()
    if dtype.kind == kind
} | {_FLOAT32: ("f", _FLOAT32)}
"""The standard library's array type, and numpy's of the same code, that JSON's numbers go into."""

_LENGTH = struct.Struct("<I")
_MOST_DIMENSIONS = 64  # of a numpy array


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: its OIP datatype, and its shape with -1 for a variable dimension.

    A `nullable` input takes missing values: NaN in a float tensor, None in a BYTES tensor.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    nullable: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype of the tensor."""
        return DTYPES[self.datatype]


def datatype_of(array: Array) -> str:
    """Return the OIP datatype of an array; `NotSupported` when there is none."""
    try:
        return _DATATYPES[array.dtype]
    except KeyError:
        raise NotSupported(f"no Open Inference Protocol datatype for {array.dtype}") from None


def dtype_of(name: str, datatype: object) -> np.dtype[Any]:
    """Return the numpy dtype of an OIP datatype; `InvalidInput` names the input."""
    try:
        return DTYPES[datatype]  # type: ignore[index]
    except (KeyError, TypeError):
        raise InvalidInput(
            f"input {name!r}: unknown datatype {datatype!r}, expected one of {', '.join(DTYPES)}"
        ) from None


def from_json(name: str, datatype: object, shape: object, data: object) -> Array:
    """Decode a JSON tensor: `data` is a list, flat or nested, in row-major order.

    Or it is a flat array, where the parser made one of numbers of the right kind.

    `null` is a missing value: NaN in a float tensor, None in a BYTES tensor, which `cast` refuses
    where the model takes none. `InvalidInput` names the input, what was expected and what was
    given.
    """
    dtype = dtype_of(name, datatype)
    if isinstance(data, np.ndarray):
        return _shaped(name, _fitted(name, data, dtype), shape)
    if not isinstance(data, list):
        raise InvalidInput(f"input {name!r}: data must be a list, {_json_name(data)} given")
    return _shaped(name, from_values(name, dtype, data), shape)


def from_values(name: str, dtype: np.dtype[Any], values: list[Any]) -> Array:
    """Build an array from JSON values without ever bending one: no `"1"` to 1, no 1.5 to 1."""
    if dtype.kind == "O":
        return _strings(name, values)
    array = packed((values,), dtype)
    if array is not None:
        return _fitted(name, array, dtype)
    array = array_of(name, values)
    if array.size == 0:
        return array.astype(dtype)
    if array.dtype.kind not in _JSON_KINDS[dtype.kind]:
        array = _mixed_values(name, dtype, values)
    elif dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
    return _fitted(name, array, dtype)


def from_untyped(name: str, spec: TensorSpec, values: list[Any]) -> Array:
    """Build a model input from JSON values that came without a datatype (V1).

    `null` is a missing value where the spec is nullable.
    """
    numbers = packed((values,), spec.dtype)
    if numbers is not None:
        return _fitted(name, numbers, spec.dtype)
    array = array_of(name, values)
    if array.size == 0:
        return array.astype(spec.dtype)
    if array.dtype.kind in "fiub":
        return cast(name, array, spec)
    objects = array if array.dtype.kind == "O" else np.array(values, dtype=np.object_)
    kinds = {type(item) for item in objects.reshape(-1)}
    if type(None) in kinds and not spec.nullable:
        raise InvalidInput(f"input {name!r}: expected {spec.datatype}, null given")
    kinds.discard(type(None))
    if kinds <= {str} and spec.dtype.kind == "O":
        return objects
    if kinds <= {int, float, bool} and spec.dtype.kind == "f":
        return _fitted(name, objects.astype(np.float64), spec.dtype)
    wrong = next(item for item in objects.reshape(-1) if type(item) in kinds)
    raise InvalidInput(f"input {name!r}: expected {spec.datatype}, {_json_name(wrong)} given")


def packed(rows: Sequence[list[Any]], wanted: np.dtype[Any]) -> Array | None:
    """Read rows of numbers of one length in one step, one behind the other, for a numpy dtype.

    They come as that dtype, or as the widest of its kind. None where there is anything else, or
    nothing: `array_of` finds out what.
    """
    width = len(rows[0])
    if wanted not in _PACKED or not width or type(rows[0][0]) is bool:
        return None
    code, dtype = _PACKED[wanted]
    numbers: packed_array[Any] = packed_array(code)
    try:
        for row in rows:
            if len(row) != width:
                return None
            numbers.fromlist(row)
    except (TypeError, OverflowError):
        return None
    array = np.frombuffer(numbers, dtype)
    # What was too large has become infinite without a word. The sum of squares shows it, and
    # costs less than looking at every number.
    if dtype is _FLOAT32 and not array.dot(array) < math.inf:
        return None
    return array


def array_of(name: str, values: list[Any]) -> Array:
    """Build an array of the type that numpy finds; texts stay objects.

    Numpy would give every element the room of the longest text.
    """
    try:
        return np.array(values, np.object_ if _has_text(values) else None)
    except ValueError:
        raise InvalidInput(f"input {name!r}: data has rows of different lengths") from None


def _has_text(values: list[Any], depth: int = 1) -> bool:
    kinds = set(map(type, values))
    if str in kinds or depth > _MOST_DIMENSIONS:
        return True
    return list in kinds and any(_has_text(v, depth + 1) for v in values if type(v) is list)


def cast(name: str, array: Array, spec: TensorSpec) -> Array:
    """Convert an array to a model input's dtype where no value can change its meaning.

    Any number to a float, whole numbers to whole numbers that hold them, booleans to numbers.
    `InvalidInput` for the rest: floats to whole numbers, strings to numbers and back.
    """
    dtype = spec.dtype
    if array.dtype == dtype:
        return _texts(name, array, spec) if dtype.kind == "O" else array
    if dtype.kind == "O" or array.dtype.kind not in _SAFE_KINDS[dtype.kind]:
        raise InvalidInput(f"input {name!r}: expected {spec.datatype}, {datatype_of(array)} given")
    return _fitted(name, array, dtype)


def to_json(array: Array) -> Array | list[Any]:
    """Return what orjson can write: the flat array itself, or the strings of a BYTES tensor."""
    flat = array.ravel()
    return [_text(item) for item in flat] if flat.dtype.kind == "O" else flat


def from_binary(name: str, datatype: object, shape: object, data: memoryview) -> Array:
    """Decode the bytes of a binary tensor, little-endian; numbers are not copied if aligned."""
    dtype = dtype_of(name, datatype)
    if dtype.kind == "O":
        array = bytes_elements(name, data)
    elif len(data) % dtype.itemsize:
        raise InvalidInput(
            f"input {name!r}: {len(data)} bytes are not whole {datatype} elements "
            f"of {dtype.itemsize} bytes"
        )
    elif dtype.kind == "b":
        array = np.frombuffer(data, np.uint8) != 0
    else:
        little = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
        # The tensor lies wherever the JSON before it ended; vector code may want it aligned.
        array = np.require(little, requirements=["ALIGNED"])
    return _shaped(name, array, shape)


def bytes_elements(name: str, data: memoryview) -> Array:
    """Decode the elements of a binary BYTES tensor: for each its length (uint32), its bytes."""
    elements: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        start = position + _LENGTH.size
        if start > end:
            raise InvalidInput(f"input {name!r}: the BYTES data ends inside a length")
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > end:
            raise InvalidInput(f"input {name!r}: the BYTES data ends inside an element")
        elements.append(bytes(data[start:position]))
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array


def to_binary(array: Array) -> bytes:
    """Encode an array as a binary tensor, row-major and little-endian."""
    if array.dtype.kind == "O":
        parts = (_raw(item) for item in array.ravel())
        return b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def check_shape(name: str, array: Array, expected: Sequence[int]) -> None:
    """Check an array's shape against a spec's; -1 fits any size."""
    if len(expected) != array.ndim or any(
        size not in (-1, given) for size, given in zip(expected, array.shape, strict=True)
    ):
        raise InvalidInput(
            f"input {name!r}: expected shape {list(expected)}, {list(array.shape)} given"
        )


def _shaped(name: str, array: Array, shape: object) -> Array:
    """Give flat data the shape of the request; nested data must have it already."""
    try:
        shaped = array.reshape(shape) if array.ndim == 1 else array  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise _shape_error(name, array, shape) from None
    if list(shaped.shape) != shape:
        raise _shape_error(name, array, shape)
    return shaped


def _shape_error(name: str, array: Array, shape: object) -> InvalidInput:
    if (
        not isinstance(shape, list)
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(size) is int and size >= 0 for size in shape)
    ):
        return InvalidInput(
            f"input {name!r}: shape must be a list of whole numbers, {shape!r} given"
        )
    if array.ndim > 1:
        return InvalidInput(
            f"input {name!r}: expected data of shape {shape}, {list(array.shape)} given"
        )
    needed = math.prod(shape)
    return InvalidInput(
        f"input {name!r}: shape {shape} needs {needed} elements, {array.size} given"
    )


def _fitted(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """Convert numbers, or say which are too large for the target."""
    if array.dtype == dtype:
        return array
    if dtype.kind in "iu" and array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InvalidInput(
                f"input {name!r}: expected {_DATATYPES[dtype]}, "
                f"a value from {array.min()} to {array.max()} does not fit"
            )
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype)
    except FloatingPointError:
        raise InvalidInput(
            f"input {name!r}: expected {_DATATYPES[dtype]}, a value is too large for it"
        ) from None


def _mixed_values(name: str, dtype: np.dtype[Any], values: list[Any]) -> Array:
    """Take values that numpy found no common type for: nulls, huge numbers, wrong types."""
    objects = _objects(name, values)
    for item in objects.reshape(-1):
        if not _fits(item, dtype.kind):
            raise InvalidInput(
                f"input {name!r}: expected {_DATATYPES[dtype]} ({_KIND_NAMES[dtype.kind]}), "
                f"{_json_name(item)} given"
            )
    try:
        return objects.astype(np.float64 if dtype.kind == "f" else dtype)
    except OverflowError:
        raise InvalidInput(
            f"input {name!r}: expected {_DATATYPES[dtype]}, a value does not fit"
        ) from None


def _fits(item: object, kind: str) -> bool:
    if kind == "b":
        return type(item) is bool
    if kind == "f":
        return item is None or type(item) in (int, float)
    return type(item) is int


def _strings(name: str, values: list[Any]) -> Array:
    """Take strings, and bytes as TensorFlow Serving writes them in JSON: `{"b64": "..."}`."""
    array = _objects(name, values)
    flat = array.reshape(-1)
    for position, item in enumerate(flat):
        if type(item) is dict and item.keys() == {"b64"}:
            flat[position] = _from_base64(name, item["b64"])
        elif item is not None and type(item) is not str:
            raise InvalidInput(
                f"input {name!r}: expected BYTES (strings), {_json_name(item)} given"
            )
    return array


def _from_base64(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise InvalidInput(f"input {name!r}: 'b64' is not base64 text") from None


def _objects(name: str, values: list[Any]) -> Array:
    try:
        return np.array(values, dtype=np.object_)
    except ValueError:
        raise InvalidInput(f"input {name!r}: data has rows of different lengths") from None


def _json_name(value: object) -> str:
    """Say what a JSON value is, in JSON's words, without echoing large ones."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
    return "an object"


def _texts(name: str, array: Array, spec: TensorSpec) -> Array:
    """Decode the `bytes` of a BYTES tensor: models take text."""
    flat = array.reshape(-1)
    if not spec.nullable and any(item is None for item in flat):
        raise InvalidInput(f"input {name!r}: expected {spec.datatype}, null given")
    if all(type(item) is str or item is None for item in flat):
        return array
    out = np.empty(flat.shape, np.object_)
    try:
        out[:] = [item.decode() if isinstance(item, bytes) else item for item in flat]
    except UnicodeDecodeError:
        raise InvalidInput(f"input {name!r}: expected text in UTF-8, other bytes given") from None
    return out.reshape(array.shape)


def _text(item: object) -> object:
    if not isinstance(item, bytes):
        return item
    try:
        return item.decode()
    except UnicodeDecodeError:
        raise NotSupported("an output is not text: ask for it with binary_data") from None


def _raw(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()
