"""ModelInferRequest and ModelInferResponse: protobuf's wire format <-> numpy arrays.

The large part of a message is its tensors. Raw tensors are read where they lie in the message and
written from where they lie in memory; protobuf sees what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from modelport_serving.errors import InvalidInput
from modelport_serving.grpc.messages import message_class
from modelport_serving.tensors import (
    Array,
    Tensors,
    TensorSpec,
    cast,
    datatype_of,
    dtype_of,
    from_binary,
    to_binary,
)

_Request = message_class("ModelInferRequest")
_Response = message_class("ModelInferResponse")

_RAW_INPUT_TAG = 7 << 3 | 2
_RAW_OUTPUT_TAG = bytes([6 << 3 | 2])
_LENGTH_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}  # bytes of the other fields that a message may have, by wire type
_LONGEST_VARINT = 10
_MOST_DIMENSIONS = 64  # of a numpy array
_MOST_FIELDS = 10_000
"""Tensors, outputs and parameters of one message: each takes its time, also an empty one."""

_INTEGER_CONTENTS = {
    "BOOL": ("bool_contents", np.bool_),
    "INT8": ("int_contents", np.int32),
    "INT16": ("int_contents", np.int32),
    "INT32": ("int_contents", np.int32),
    "INT64": ("int64_contents", np.int64),
    "UINT8": ("uint_contents", np.uint32),
    "UINT16": ("uint_contents", np.uint32),
    "UINT32": ("uint_contents", np.uint32),
    "UINT64": ("uint64_contents", np.uint64),
}
_PACKED_CONTENTS = {"FP32": "fp32_contents", "FP64": "fp64_contents"}


class InferRequest(NamedTuple):
    """A decoded ModelInferRequest.

    `outputs` empty means all. `raw` says that the tensors came as raw contents, and that they
    are answered so. `timeout` is Triton's parameter of that name, in seconds.
    """

    model_name: str
    model_version: str | None
    id: str
    inputs: Tensors
    outputs: tuple[str, ...]
    raw: bool
    timeout: float | None


def parse(message_type: Any, data: bytes) -> Any:
    """Parse a message; `InvalidInput` when the bytes are none."""
    try:
        return message_type.FromString(data)
    except DecodeError:
        name = message_type.DESCRIPTOR.name
        raise InvalidInput(f"the request is not a {name} of package inference") from None


class Message(NamedTuple):
    """An encoded message: buffers to be sent one after the other, and their bytes in all."""

    parts: list[Any]
    size: int


def decode(message: memoryview) -> InferRequest:
    """Decode a ModelInferRequest. Raw tensors of numbers stay views of `message` if aligned."""
    head, raw = _split(message)
    request = parse(_Request, head)
    inputs = request.inputs
    if not inputs:
        raise InvalidInput("the request has no inputs: expected at least one tensor")
    outputs, parameters = request.outputs, request.parameters
    return InferRequest(
        request.model_name,
        request.model_version or None,
        request.id,
        _raw_inputs(inputs, raw) if raw else _typed_inputs(inputs),
        _requested(outputs) if outputs else (),
        bool(raw),
        _timeout(parameters) if parameters else None,
    )


def encode(model_version: str | None, request: InferRequest, outputs: Tensors) -> Message:
    """Encode a ModelInferResponse.

    Raw contents answer raw contents, as KServe does and Triton's client needs; FP16 has no others.
    """
    raw = request.raw or any(array.dtype.char == "e" for array in outputs.values())
    response = _Response(
        model_name=request.model_name, model_version=model_version or "", id=request.id
    )
    blobs: list[Any] = []
    size = 0
    for name, array in outputs.items():
        output = response.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        if raw:
            data = _raw_output(array)
            tag = _RAW_OUTPUT_TAG + _varint(data.nbytes)
            blobs += (tag, data)
            size += len(tag) + data.nbytes
        else:
            _add_contents(output, array)
    head = response.SerializeToString()
    return Message([head, *blobs], len(head) + size)


def _split(message: memoryview) -> tuple[bytes, list[memoryview]]:
    """Take the raw tensors out of a message; the other fields stay as they are."""
    raw: list[memoryview] = []
    rest: list[memoryview] = []
    position, kept, end, fields = 0, 0, len(message), 0
    while position < end:
        start = position
        fields += 1
        if fields > _MOST_FIELDS:
            raise InvalidInput(f"the request has more than {_MOST_FIELDS} tensors and parameters")
        tag, position = _read_varint(message, position)
        if tag & 7 == _LENGTH_DELIMITED:
            length, position = _read_varint(message, position)
            position += length
        elif tag & 7 == 0:
            _, position = _read_varint(message, position)
        else:
            position += _FIXED_SIZES.get(tag & 7, end)
        if position > end:
            raise InvalidInput("the request ends inside a field, or is no ModelInferRequest")
        if tag == _RAW_INPUT_TAG:
            raw.append(message[position - length : position])
            rest.append(message[kept:start])
            kept = position
    return b"".join((*rest, message[kept:])), raw


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    if position < len(message) and message[position] < 128:
        return message[position], position + 1
    value = shift = 0
    for byte in message[position : position + _LONGEST_VARINT]:
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise InvalidInput("the request ends inside the length of a field")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _raw_inputs(inputs: Sequence[Any], raw: list[memoryview]) -> Tensors:
    if len(raw) != len(inputs):
        raise InvalidInput(
            f"the request has {len(inputs)} inputs, but {len(raw)} raw_input_contents: "
            "send one for each, in the same order"
        )
    tensors: Tensors = {}
    for tensor, data in zip(inputs, raw, strict=True):
        name = _new_name(tensor, tensors)
        if tensor.HasField("contents"):
            raise InvalidInput(
                f"input {name!r}: contents and raw_input_contents exclude each other"
            )
        tensors[name] = from_binary(name, tensor.datatype, tensor.shape[:], data)
    return tensors


def _typed_inputs(inputs: Sequence[Any]) -> Tensors:
    tensors: Tensors = {}
    for tensor in inputs:
        name = _new_name(tensor, tensors)
        tensors[name] = _typed(name, tensor.datatype, tensor.shape[:], tensor.contents)
    return tensors


def _new_name(tensor: Any, known: Tensors) -> str:
    name: str = tensor.name
    if name in known:
        raise InvalidInput(f"input {name!r} is given twice")
    return name


def _typed(name: str, datatype: str, shape: list[int], contents: Any) -> Array:
    """Decode a tensor from the contents field of its datatype."""
    dtype = dtype_of(name, datatype)
    if packed := _PACKED_CONTENTS.get(datatype):
        return from_binary(name, datatype, shape, memoryview(b"".join(getattr(contents, packed))))
    if datatype == "FP16":
        if math.prod(shape) == 0:
            return _shaped(name, np.empty(0, dtype), shape)
        raise InvalidInput(f"input {name!r}: FP16 has no contents field: use raw_input_contents")
    if datatype == "BYTES":
        return _shaped(name, _objects(contents.bytes_contents), shape)
    field, wire = _INTEGER_CONTENTS[datatype]
    values = getattr(contents, field)
    numbers: Array = np.fromiter(values, wire, len(values))
    return _shaped(name, cast(name, numbers, TensorSpec(name, datatype, ())), shape)


def _objects(values: Iterable[bytes]) -> Array:
    elements = list(values)
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array


def _shaped(name: str, array: Array, shape: list[int]) -> Array:
    if any(size < 0 for size in shape) or len(shape) > _MOST_DIMENSIONS:
        raise InvalidInput(f"input {name!r}: shape must be whole numbers, {shape} given")
    if math.prod(shape) != array.size:
        raise InvalidInput(
            f"input {name!r}: shape {shape} needs {math.prod(shape)} elements of the contents "
            f"field of its datatype, {array.size} given"
        )
    try:
        return array.reshape(shape)
    except ValueError:
        raise InvalidInput(f"input {name!r}: shape {shape} is too large") from None


def _requested(outputs: Sequence[Any]) -> tuple[str, ...]:
    names = tuple(output.name for output in outputs)
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InvalidInput(f"output {name!r} is asked for twice")
    return names


def _timeout(parameters: Sequence[Any]) -> float | None:
    """Read Triton's `timeout` parameter, in microseconds; 0 is none."""
    for entry in parameters:
        if entry.key == "timeout":
            value = entry.value
            microseconds = value.int64_param or value.uint64_param
            if microseconds < 0 or value.HasField("string_param"):
                raise InvalidInput("the parameter 'timeout' is a whole number of microseconds")
            return microseconds / 1e6 if microseconds else None
    return None


def _raw_output(array: Array) -> memoryview:
    if array.dtype.kind == "O":
        return memoryview(to_binary(array))
    little: Any = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return memoryview(little)


def _add_contents(output: Any, array: Array) -> None:
    datatype = output.datatype
    if packed := _PACKED_CONTENTS.get(datatype):
        getattr(output.contents, packed).append(to_binary(array))
    elif datatype == "BYTES":
        output.contents.bytes_contents.extend(
            item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()
        )
    else:
        field, _ = _INTEGER_CONTENTS[datatype]
        getattr(output.contents, field).extend(array.ravel().tolist())
