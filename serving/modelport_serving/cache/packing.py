"""Named tensors as bytes, for Redis: a JSON line of names, datatypes and shapes, then the data."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelport_serving.errors import ServingError
from modelport_serving.tensors import datatype_of, from_binary, to_binary

if TYPE_CHECKING:
    from modelport_serving.tensors import Array, Tensors

_MAGIC = b"MPT1"
_HEAD = struct.Struct("<4sI")
_ALIGNMENT = 8
_TEXT = "TEXT"  # BYTES whose elements are str


def pack(tensors: Tensors) -> bytes | None:
    """Return tensors as bytes; None for what would not come back as it was."""
    heads: list[Any] = []
    blobs: list[bytes] = []
    for name, array in tensors.items():
        datatype = _datatype(array)
        if datatype is None:
            return None
        blob = to_binary(array)
        heads.append((name, datatype, array.shape, len(blob)))
        blobs += (blob, bytes(-len(blob) % _ALIGNMENT))
    head = orjson.dumps(heads)
    head += b" " * (-len(head) % _ALIGNMENT)
    return b"".join((_HEAD.pack(_MAGIC, len(head)), head, *blobs))


def unpack(data: Any) -> Tensors | None:
    """Return the tensors, read-only; None when that is no bytes, or none of ours."""
    try:
        magic, length = _HEAD.unpack_from(data)
        position = _HEAD.size + length
        if magic != _MAGIC or position > len(data):
            return None
        tensors: Tensors = {}
        view = memoryview(data)
        for name, datatype, shape, size in orjson.loads(view[_HEAD.size : position]):
            tensors[name] = _array(name, datatype, shape, view[position : position + size])
            position += size + -size % _ALIGNMENT
    except (ServingError, ValueError, TypeError, struct.error):
        return None
    return tensors if position == len(data) else None


def _datatype(array: Array) -> str | None:
    try:
        datatype = datatype_of(array)
    except ServingError:
        return None
    if datatype != "BYTES":
        return datatype
    kinds = set(map(type, array.reshape(-1).tolist()))
    if kinds <= {bytes}:
        return datatype
    return _TEXT if kinds == {str} else None


def _array(name: str, datatype: str, shape: list[int], data: memoryview) -> Array:
    if datatype != _TEXT:
        array = from_binary(name, datatype, shape, data)
    else:
        elements = from_binary(name, "BYTES", shape, data)
        array = np.empty(elements.shape, np.object_)
        array.reshape(-1)[:] = [item.decode() for item in elements.reshape(-1)]
    array.flags.writeable = False
    return array
