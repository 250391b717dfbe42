"""KServe's V1 protocol (TensorFlow Serving's row format) in JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport_serving.errors import InvalidInput, PredictionFailed
from modelport_serving.rest.parsing import json_object, parameters_of
from modelport_serving.rest.replies import Reply, json_reply
from modelport_serving.tensors import DTYPES, Array, Tensors, datatype_of, to_json


def decode(body: bytes) -> list[Any]:
    """Return the instances, one per row; `inputs` means the same, as in KServe."""
    request = json_object(body)
    for key in ("instances", "inputs"):
        if key in request:
            instances = request[key]
            if not isinstance(instances, list) or not instances:
                raise InvalidInput(f"{key!r} must be a list of at least one instance")
            return instances
    raise InvalidInput("the request has no 'instances'")


def parameters(body: bytes) -> dict[str, Any]:
    """Return the parameters of a request to explain, which V1 has as V2 has them."""
    return parameters_of(json_object(body))


def encode(outputs: Tensors) -> Reply:
    """Answer row by row: the value of the only output, or an object by output name."""
    names = list(outputs)
    counts = {array.shape[:1] for array in outputs.values()}
    if len(counts) != 1 or () in counts:
        raise PredictionFailed(f"the outputs {names} have no rows in common: ask for them over V2")
    rows = [_rows(array) for array in outputs.values()]
    if len(rows) == 1:
        return json_reply({"predictions": rows[0]})
    objects = [dict(zip(names, row, strict=True)) for row in zip(*rows, strict=True)]
    return json_reply({"predictions": objects})


def _rows(array: Array) -> Array | list[Any]:
    """Return an array's rows as orjson can write them, each in its own shape."""
    values = to_json(array)
    if isinstance(values, list):
        # `np.array` would take elements that are lists of one length for a further dimension.
        objects = np.fromiter(values, np.object_, len(values))
        nested: list[Any] = objects.reshape(array.shape).tolist()
        return nested
    # Some libraries answer C's long long: int64 by another name, which orjson does not know.
    return values.view(DTYPES[datatype_of(values)]).reshape(array.shape)
