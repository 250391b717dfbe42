"""The Open Inference Protocol's infer request and response: JSON and binary tensor data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from modelport_serving.errors import InvalidInput
from modelport_serving.rest.replies import Reply, json_reply
from modelport_serving.rest.v1 import json_object
from modelport_serving.tensors import (
    Array,
    Tensors,
    TensorSpec,
    bytes_elements,
    datatype_of,
    from_binary,
    from_json,
    to_binary,
    to_json,
)

LENGTH_HEADER = "inference-header-content-length"


class InferRequest(NamedTuple):
    """A decoded infer request. `outputs` empty means all; `binary` names those wanted raw."""

    inputs: Tensors
    id: str | None = None
    outputs: tuple[str, ...] = ()
    binary: frozenset[str] = frozenset()
    binary_default: bool = False

    def wants_binary(self, output: str) -> bool:
        """Whether an output is answered as bytes behind the JSON."""
        return output in self.binary if self.outputs else self.binary_default


def decode(body: bytes, json_length: str | None, specs: Sequence[TensorSpec]) -> InferRequest:
    """Decode an infer request.

    `json_length` is the Inference-Header-Content-Length: the bytes of JSON before the binary
    data; "0" says that the body is one raw tensor. `specs` are the model's own inputs.
    """
    if json_length is None:
        return _request(json_object(body), memoryview(b""))
    length = _length(json_length, len(body))
    if length == 0:
        return _raw(memoryview(body), specs)
    view = memoryview(body)
    return _request(json_object(view[:length]), view[length:])


def encode(model: str, request: InferRequest, outputs: Tensors) -> Reply:
    """Encode the outputs in the order of the request, each as it asked for."""
    blobs: list[bytes] = []
    response: dict[str, Any] = {"model_name": model}
    if request.id is not None:
        response["id"] = request.id
    response["outputs"] = [
        _output(name, array, blobs if request.wants_binary(name) else None)
        for name, array in outputs.items()
    ]
    reply = json_reply(response)
    if not blobs:
        return reply
    headers = [
        ("content-type", "application/octet-stream"),
        (LENGTH_HEADER, str(len(reply.body))),
    ]
    return Reply(reply.status, headers, b"".join([reply.body, *blobs]))


def _length(text: str, available: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:20]) > available:
        raise InvalidInput(
            f"Inference-Header-Content-Length is {text[:20]!r}, but the body has {available} bytes"
        )
    return int(text)


def _request(document: dict[str, Any], blob: memoryview) -> InferRequest:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise InvalidInput("the request has no 'inputs': expected a list of tensors")
    tensors: Tensors = {}
    position = 0
    for item in inputs:
        name, array, used = _input(item, blob[position:])
        if name in tensors:
            raise InvalidInput(f"input {name!r} is given twice")
        tensors[name] = array
        position += used
    if position != len(blob):
        raise InvalidInput(
            f"the inputs name {position} bytes of binary data, {len(blob)} follow the JSON"
        )
    names, binary, default = _wanted(document)
    return InferRequest(tensors, _id(document), names, binary, default)


def _input(item: Any, blob: memoryview) -> tuple[str, Array, int]:
    """Decode one input; the bytes that it takes from the blob come with it."""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise InvalidInput("each input must be an object with a 'name'")
    name = item["name"]
    size = _parameters(item, f"input {name!r}").get("binary_data_size")
    if size is None:
        return name, from_json(name, item.get("datatype"), item.get("shape"), item.get("data")), 0
    if type(size) is not int or not 0 <= size <= len(blob):
        raise InvalidInput(
            f"input {name!r}: binary_data_size is {size!r}, but {len(blob)} bytes are left"
        )
    array = from_binary(name, item.get("datatype"), item.get("shape"), blob[:size])
    return name, array, size


def _wanted(document: dict[str, Any]) -> tuple[tuple[str, ...], frozenset[str], bool]:
    """Read which outputs are wanted, which of them as bytes, and what goes for all."""
    default = _parameters(document, "the request").get("binary_data_output", False) is True
    outputs = document.get("outputs") or []
    if not isinstance(outputs, list):
        raise InvalidInput("'outputs' must be a list")
    names: list[str] = []
    binary: set[str] = set()
    for item in outputs:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise InvalidInput("each output must be an object with a 'name'")
        name = item["name"]
        if name in names:
            raise InvalidInput(f"output {name!r} is asked for twice")
        names.append(name)
        if _parameters(item, f"output {name!r}").get("binary_data", default) is True:
            binary.add(name)
    return tuple(names), frozenset(binary), default


def _parameters(owner: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidInput(f"{where}: 'parameters' must be an object")
    return parameters


def _id(document: dict[str, Any]) -> str | None:
    value = document.get("id")
    if value is not None and not isinstance(value, str):
        raise InvalidInput("'id' must be a string")
    return value


def _raw(body: memoryview, specs: Sequence[TensorSpec]) -> InferRequest:
    """Decode a body that is the only input's bytes; its one variable dimension follows."""
    if len(specs) != 1 or specs[0].shape.count(-1) > 1:
        raise InvalidInput(
            "a raw request (Inference-Header-Content-Length: 0) needs a model "
            "with one input that has at most one variable dimension"
        )
    (spec,) = specs
    if spec.datatype == "BYTES":
        elements = len(bytes_elements(spec.name, body))
    else:
        elements = len(body) // spec.dtype.itemsize
    fixed = math.prod(size for size in spec.shape if size != -1)
    shape = [elements // (fixed or 1) if size == -1 else size for size in spec.shape]
    array = from_binary(spec.name, spec.datatype, shape, body)
    return InferRequest({spec.name: array}, binary_default=True)


def _output(name: str, array: Array, blobs: list[bytes] | None) -> dict[str, Any]:
    tensor: dict[str, Any] = {
        "name": name,
        "datatype": datatype_of(array),
        "shape": array.shape,
    }
    if blobs is None:
        tensor["data"] = to_json(array)
    else:
        blobs.append(to_binary(array))
        tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
    return tensor
