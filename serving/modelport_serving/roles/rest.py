"""V1 and V2 (OIP) over HTTP, from the caller's side: what `modelport_serving.rest` answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import orjson

from modelport_serving.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    NotSupported,
    Overloaded,
    PayloadTooLarge,
    PredictionFailed,
    ServingError,
    Unauthenticated,
    UpstreamFailed,
)
from modelport_serving.roles.instances import from_rows, to_rows
from modelport_serving.roles.predictor import Metadata
from modelport_serving.tensors import (
    DTYPES,
    Array,
    Tensors,
    TensorSpec,
    datatype_of,
    from_binary,
    from_json,
    to_binary,
    to_json,
)

if TYPE_CHECKING:
    from modelport_serving.roles.context import Context
    from modelport_serving.roles.http import HttpAnswer, HttpClient

PREDICTIONS = "predictions"
"""The output of a V1 predictor whose predictions name nothing."""

_LENGTH = "inference-header-content-length"
_BINARY_EXTENSION = "binary_tensor_data"
_FORWARDED = ("traceparent", "tracestate", "authorization")
_JSON = ("content-type", "application/json")
_OCTETS = ("content-type", "application/octet-stream")
_ERRORS: Mapping[int, type[ServingError]] = {
    401: Unauthenticated,
    404: ModelNotFound,
    413: PayloadTooLarge,
    500: PredictionFailed,
    501: NotSupported,
    503: ModelNotReady,
    504: DeadlineExceeded,
}


class V1Client:
    """KServe's V1: rows in JSON."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def infer(self, inputs: Tensors, outputs: Sequence[str], context: Context) -> Tensors:
        """Ask with `instances`, and return the predictions by their keys, else as one output."""
        body = orjson.dumps({"instances": to_rows(inputs)}, option=orjson.OPT_SERIALIZE_NUMPY)
        target = f"/v1/models/{quote(context.model_name, safe='')}:predict"
        headers = [_JSON, *forwarded(context)]
        answer = _checked(await self._http.request("POST", target, headers, [body]))
        rows = _document(answer.body).get(PREDICTIONS)
        if not isinstance(rows, list):
            raise UpstreamFailed(f"the answer of {self._http.address} has no {PREDICTIONS!r}")
        answers = from_rows(rows, PREDICTIONS)
        if missing := [name for name in outputs if name not in answers]:
            raise InvalidInput(f"unknown output {missing[0]!r}, the model has {list(answers)}")
        return {name: answers[name] for name in outputs} if outputs else answers

    async def ready(self, name: str, version: str | None) -> bool:  # noqa: ARG002
        """Ask for the model's state; V1 knows no versions."""
        answer = await self._http.request("GET", f"/v1/models/{quote(name, safe='')}")
        # KServe says "True" in some releases.
        return answer.status == 200 and str(_document(answer.body).get("ready")).lower() == "true"

    async def metadata(self, name: str, version: str | None) -> Metadata:  # noqa: ARG002
        """Return nothing: V1 says nothing of a model but its name."""
        return Metadata()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


class V2Client:
    """The Open Inference Protocol: binary tensors where the server takes them, else JSON."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._binary: bool | None = None

    async def infer(self, inputs: Tensors, outputs: Sequence[str], context: Context) -> Tensors:
        """Ask for the named outputs, or for all of them."""
        if self._binary is None:
            self._binary = await self._takes_binary()
        headers, body = encode(inputs, outputs, context.request_id, binary=self._binary)
        target = _model(context.model_name, context.model_version) + "/infer"
        headers += forwarded(context)
        answer = _checked(await self._http.request("POST", target, headers, body))
        try:
            return decode(answer)
        except (ServingError, KeyError, TypeError, ValueError) as error:
            raise UpstreamFailed(
                f"the answer of {self._http.address} cannot be read: {error}"
            ) from error

    async def ready(self, name: str, version: str | None) -> bool:
        """Ask whether the model is ready."""
        target = _model(name, version) + "/ready"
        return (await self._http.request("GET", target)).status == 200

    async def metadata(self, name: str, version: str | None) -> Metadata:
        """Ask what the model takes and answers."""
        answer = _checked(await self._http.request("GET", _model(name, version)))
        document = _document(answer.body)
        return Metadata(
            str(document.get("platform", "")),
            tuple(map(str, document.get("versions") or ())),
            _specs(document.get("inputs")),
            _specs(document.get("outputs")),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def _takes_binary(self) -> bool:
        answer = await self._http.request("GET", "/v2")
        if answer.status != 200:
            return False
        return _BINARY_EXTENSION in (_document(answer.body).get("extensions") or ())


def encode(
    inputs: Tensors, outputs: Sequence[str], request_id: str | None, *, binary: bool
) -> tuple[list[tuple[str, str]], list[bytes]]:
    """Return the headers and the body of a V2 request; with `binary`, numbers follow the JSON."""
    blobs: list[bytes] = []
    document: dict[str, Any] = {
        "inputs": [_input(name, array, blobs if binary else None) for name, array in inputs.items()]
    }
    if request_id is not None:
        document["id"] = request_id
    if outputs:
        document["outputs"] = [{"name": name} for name in outputs]
    if binary:
        document["parameters"] = {"binary_data_output": True}
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not binary:
        return [_JSON], [head]
    return [_OCTETS, (_LENGTH, str(len(head)))], [head, *blobs]


def decode(answer: HttpAnswer) -> Tensors:
    """Return the outputs of a V2 answer, whatever its tensors' encoding; many errors otherwise."""
    length = int(answer.headers.get(_LENGTH, len(answer.body)))
    view = memoryview(answer.body)
    blob = view[length:]
    outputs: Tensors = {}
    for item in _document(view[:length])["outputs"]:
        name, datatype, shape = item["name"], item["datatype"], item["shape"]
        size = item["parameters"].get("binary_data_size") if item.get("parameters") else None
        if size is None:
            outputs[name] = from_json(name, datatype, shape, item["data"])
        else:
            outputs[name] = from_binary(name, datatype, shape, blob[:size])
            blob = blob[size:]
    return outputs


def forwarded(context: Context) -> list[tuple[str, str]]:
    """Return what a predictor is told of the request that it is asked for.

    The id, the trace, and the caller's token: the predictor is a part of the same service.
    """
    headers = [
        (name, value)
        for name in _FORWARDED
        if (value := context.headers.get(name)) is not None and _is_printable(value)
    ]
    if context.request_id is not None and _is_printable(context.request_id):
        headers.append(("x-request-id", context.request_id))
    return headers


def _is_printable(value: str) -> bool:
    """Keep line ends out: a request's id may come from its JSON."""
    return value.isascii() and value.isprintable()


def _model(name: str, version: str | None) -> str:
    target = f"/v2/models/{quote(name, safe='')}"
    return target if version is None else f"{target}/versions/{quote(version, safe='')}"


def _input(name: str, array: Array, blobs: list[bytes] | None) -> dict[str, Any]:
    item: dict[str, Any] = {
        "name": name,
        "datatype": datatype_of(array),
        "shape": array.shape,
    }
    if blobs is not None:
        blobs.append(to_binary(array))
        item["parameters"] = {"binary_data_size": len(blobs[-1])}
        return item
    try:
        item["data"] = to_json(np.ascontiguousarray(array))
    except NotSupported:
        raise InvalidInput(
            f"input {name!r} holds bytes that are not text, and the predictor takes JSON alone"
        ) from None
    return item


def _checked(answer: HttpAnswer) -> HttpAnswer:
    """Raise the predictor's own error, with its words."""
    status = answer.status
    if status == 200:
        return answer
    message = _error_text(answer)
    if status == 503 and "retry-after" in answer.headers:
        raise Overloaded(message)
    if kind := _ERRORS.get(status):
        raise kind(message)
    if 400 <= status < 500:
        raise InvalidInput(message)
    raise UpstreamFailed(message)


def _error_text(answer: HttpAnswer) -> str:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        return str(document["error"])
    text = answer.body[:200].decode(errors="replace")
    return f"the predictor answered {answer.status}: {text}"


def _document(body: bytes | memoryview) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed(f"the predictor's answer is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise UpstreamFailed("the predictor's answer is not a JSON object")
    return document


def _specs(items: Any) -> tuple[TensorSpec, ...]:
    try:
        return known_specs((item["name"], item["datatype"], item["shape"]) for item in items or ())
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamFailed(f"the predictor's metadata cannot be read: {error!r}") from error


def known_specs(tensors: Iterable[tuple[str, str, Iterable[int]]]) -> tuple[TensorSpec, ...]:
    """Return the tensors of a predictor's metadata; what OIP does not know is left out."""
    return tuple(
        TensorSpec(name, datatype, tuple(map(int, shape)))
        for name, datatype, shape in tensors
        if datatype in DTYPES
    )
