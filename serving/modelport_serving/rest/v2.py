"""The Open Inference Protocol's infer request and response: JSON and binary tensor data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from modelport_serving.errors import InvalidInput
from modelport_serving.rest.parsing import infer_object, json_object, parameters_of
from modelport_serving.rest.replies import Reply, json_reply
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
_LONGEST_NUMBER = 20  # digits


_NO_BLOB = memoryview(b"")
_NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})


class InferRequest(NamedTuple):
    """A decoded infer request. `outputs` empty means all; `binary` names those wanted raw."""

    inputs: Tensors
    id: str | None = None
    outputs: tuple[str, ...] = ()
    binary: frozenset[str] = frozenset()
    binary_default: bool = False
    timeout: float | None = None
    """How long the caller waits, in seconds."""
    parameters: Mapping[str, Any] = _NO_PARAMETERS

    def wants_binary(self, output: str) -> bool:
        """Whether an output is answered as bytes behind the JSON."""
        return output in self.binary if self.outputs else self.binary_default


def decode(body: bytes, json_length: str | None, specs: Sequence[TensorSpec]) -> InferRequest:
    """Decode an infer request.

    `json_length` is the Inference-Header-Content-Length: the bytes of JSON before the binary
    data; "0" says that the body is one raw tensor. `specs` are the model's own inputs.
    """
    if json_length is None:
        return _request(infer_object(body), _NO_BLOB)
    length = _length(json_length, len(body))
    if length == 0:
        return _raw(memoryview(body), specs)
    view = memoryview(body)
    return _request(json_object(view[:length]), view[length:])


def encode(name: str, version: str | None, request: InferRequest, outputs: Tensors) -> Reply:
    """Encode the outputs in the order of the request, each as it asked for."""
    blobs: list[bytes] = []
    response: dict[str, Any] = {"model_name": name}
    if version is not None:
        response["model_version"] = version
    if request.id is not None:
        response["id"] = request.id
    response["outputs"] = [
        _output(output, array, blobs if request.wants_binary(output) else None)
        for output, array in outputs.items()
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
    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER
    if not is_number or int(text) > available:
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
        name = _named(item, "input")
        if name in tensors:
            raise InvalidInput(f"input {name!r} is given twice")
        if "parameters" in item:
            tensors[name], used = _parametrised(name, item, blob[position:])
            position += used
        else:
            tensors[name] = _json_tensor(name, item)
    if position != len(blob):
        raise InvalidInput(
            f"the inputs name {position} bytes of binary data, {len(blob)} follow the JSON"
        )
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput("'id' must be a string")
    if "outputs" not in document and "parameters" not in document:
        return InferRequest(tensors, request_id)
    return _with_outputs(InferRequest(tensors, request_id), document)


def _named(item: Any, kind: str) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str):
        raise InvalidInput(f"each {kind} must be an object with a 'name'")
    return name


def _json_tensor(name: str, item: dict[str, Any]) -> Array:
    return from_json(name, item.get("datatype"), item.get("shape"), item.get("data"))


def _parametrised(name: str, item: dict[str, Any], blob: memoryview) -> tuple[Array, int]:
    """Decode an input that may be binary; how many bytes it takes from the blob comes with it."""
    size = parameters_of(item).get("binary_data_size")
    if size is None:
        return _json_tensor(name, item), 0
    if type(size) is not int or not 0 <= size <= len(blob):
        raise InvalidInput(
            f"input {name!r}: binary_data_size is {size!r}, but {len(blob)} bytes are left"
        )
    return from_binary(name, item.get("datatype"), item.get("shape"), blob[:size]), size


def _with_outputs(request: InferRequest, document: dict[str, Any]) -> InferRequest:
    """Read which outputs are wanted, which of them as bytes, and what goes for all."""
    parameters = parameters_of(document)
    default = parameters.get("binary_data_output") is True
    outputs = document.get("outputs")
    if outputs is None:
        outputs = []
    elif not isinstance(outputs, list):
        raise InvalidInput("'outputs' must be a list")
    wanted: dict[str, bool] = {}
    for item in outputs:
        name = _named(item, "output")
        if name in wanted:
            raise InvalidInput(f"output {name!r} is asked for twice")
        wanted[name] = parameters_of(item).get("binary_data", default) is True
    binary = frozenset(name for name, is_binary in wanted.items() if is_binary)
    return request._replace(
        outputs=tuple(wanted),
        binary=binary,
        binary_default=default,
        timeout=_timeout(parameters.get("timeout")),
        parameters=parameters,
    )


def _timeout(microseconds: Any) -> float | None:
    """Read Triton's `timeout` parameter; 0 is none."""
    if microseconds in (None, 0):
        return None
    if type(microseconds) is not int or microseconds < 0:
        raise InvalidInput(f"'timeout' is in whole microseconds, {microseconds!r} given")
    return microseconds / 1e6


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
