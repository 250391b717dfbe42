"""JSON requests: orjson for small ones; simdjson where a tensor's numbers are worth it."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from modelport_serving.errors import InvalidInput
from modelport_serving.tensors import DTYPES, Array

_LARGE_BYTES = 16 * 1024
"""From this size on, numbers are read into an array without a Python object for each."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
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

    if body.startswith(_BYTE_ORDER_MARK):
        return None
    try:
        root: Any = simdjson.Parser().parse(body)
        document: dict[str, Any] = {key: _plain(root[key]) for key in root if key != "inputs"}
        document["inputs"] = [_input(item) for item in root["inputs"]]
    except Exception:  # noqa: BLE001 - orjson finds out what is wrong with it
        return None
    # A buffer takes the numbers out of nested lists, which have to be checked row by row.
    is_flat = body.count(b"[") == _flat_lists(document)
    return document if is_flat and len(document) == len(root) else None


def _flat_lists(document: dict[str, Any]) -> int:
    """Count the lists that stand where the protocol has them."""
    values = [document["inputs"], document.get("outputs")]
    for tensor in document["inputs"]:
        values += [tensor.get("shape"), tensor.get("data")]
    return sum(isinstance(value, (list, np.ndarray)) for value in values)


def _input(item: Any) -> dict[str, Any]:
    tensor = {key: item[key] for key in item}
    if len(tensor) != len(item):
        raise KeyError("of a name that is given twice the last value counts, not the first")
    kind = DTYPES[tensor["datatype"]].kind
    if kind in _BUFFERS and "data" in tensor:
        tensor["data"] = _array(tensor["data"], *_BUFFERS[kind])
    return {key: _plain(value) for key, value in tensor.items()}


def _array(data: Any, buffer: str, dtype: np.dtype[Any]) -> Array:
    return np.frombuffer(data.as_buffer(of_type=buffer), dtype)


def _plain(value: Any) -> Any:
    if hasattr(value, "as_dict"):
        return value.as_dict()
    return value.as_list() if hasattr(value, "as_list") else value


def parameters_of(owner: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output."""
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidInput("'parameters' must be an object wherever they are given")
    return parameters
