"""JSON requests: orjson for small ones; simdjson where a tensor's numbers are worth it."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from modelport_serving.errors import InvalidInput
from modelport_serving.tensors import DTYPES, Array

_LARGE_BYTES = 16 * 1024
"""From this size on, numbers are read into an array without a Python object for each."""

_BUFFERS = {
    "f": ("d", np.dtype(np.float64)),
    "i": ("i", np.dtype(np.int64)),
    "u": ("u", np.dtype(np.uint64)),
}
"""simdjson's buffer types by the kind of the tensor's numpy dtype."""


def json_object(body: bytes | memoryview) -> dict[str, Any]:
    """Parse a JSON object; `InvalidInput` says where it breaks."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the request is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInput("the request must be a JSON object")
    return document


def infer_object(body: bytes) -> dict[str, Any]:
    """Parse an infer request; the `data` of large numeric tensors comes as a flat array.

    Whatever simdjson does not take is left to orjson, which says what is wrong.
    """
    if len(body) >= _LARGE_BYTES and (document := _with_arrays(body)) is not None:
        return document
    return json_object(body)


def _with_arrays(body: bytes) -> dict[str, Any] | None:
    import simdjson

    try:
        root: Any = simdjson.Parser().parse(body)
        document: dict[str, Any] = {key: _plain(root[key]) for key in root if key != "inputs"}
        document["inputs"] = [_input(item) for item in root["inputs"]]
    except (ValueError, KeyError, TypeError, RuntimeError):
        return None
    return document


def _input(item: Any) -> Any:
    tensor = {key: item[key] for key in item}
    data = tensor.get("data")
    kind = DTYPES[tensor["datatype"]].kind
    if kind not in _BUFFERS or not _is_flat(data):
        return item.as_dict()
    buffer, dtype = _BUFFERS[kind]
    plain: dict[str, Any] = {key: _plain(value) for key, value in tensor.items() if key != "data"}
    plain["data"] = _array(data, buffer, dtype)
    return plain


def _is_flat(data: Any) -> bool:
    """Whether a list holds plain values: nested ones have to be checked row by row."""
    return len(data) > 0 and not hasattr(data[0], "__len__")


def _array(data: Any, buffer: str, dtype: np.dtype[Any]) -> Array:
    return np.frombuffer(data.as_buffer(of_type=buffer), dtype)


def _plain(value: Any) -> Any:
    if hasattr(value, "as_dict"):
        return value.as_dict()
    return value.as_list() if hasattr(value, "as_list") else value
