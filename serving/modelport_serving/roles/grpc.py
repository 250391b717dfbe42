"""The Open Inference Protocol over gRPC, from the caller's side; the only user of grpcio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from grpc import StatusCode, ssl_channel_credentials
from grpc.aio import AioRpcError, Channel, insecure_channel, secure_channel

from modelport_serving.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    NotSupported,
    PayloadTooLarge,
    PredictionFailed,
    ServingError,
    Unauthenticated,
    UpstreamFailed,
)
from modelport_serving.grpc.messages import message_class
from modelport_serving.roles.predictor import Metadata
from modelport_serving.roles.rest import forwarded, known_specs
from modelport_serving.tensors import (
    DTYPES,
    Array,
    Tensors,
    datatype_of,
    from_binary,
    to_binary,
)

if TYPE_CHECKING:
    from modelport_serving.roles.context import Context

_SERVICE = "/inference.GRPCInferenceService/"
_NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_ERRORS: Mapping[StatusCode, type[ServingError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidInput,
    StatusCode.OUT_OF_RANGE: InvalidInput,
    StatusCode.FAILED_PRECONDITION: InvalidInput,
    StatusCode.NOT_FOUND: ModelNotFound,
    StatusCode.RESOURCE_EXHAUSTED: PayloadTooLarge,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.UNIMPLEMENTED: NotSupported,
    StatusCode.UNAVAILABLE: ModelNotReady,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    StatusCode.INTERNAL: PredictionFailed,
    StatusCode.UNKNOWN: PredictionFailed,
}
_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class GrpcClient:
    """One channel to `host:port`. gRPC itself tries again what it could not send."""

    def __init__(self, address: str, *, use_ssl: bool) -> None:
        self._address = address
        self._use_ssl = use_ssl

    async def infer(self, inputs: Tensors, outputs: Sequence[str], context: Context) -> Tensors:
        """Ask with raw contents for the named outputs, or for all of them."""
        message = message_class("ModelInferRequest")(
            model_name=context.model_name,
            model_version=context.model_version or "",
            id=context.request_id or "",
        )
        for name, array in inputs.items():
            message.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
            message.raw_input_contents.append(to_binary(array))
        for name in outputs:
            message.outputs.add(name=name)
        answer = await self._call("ModelInfer", message, "ModelInferResponse", context)
        try:
            return _outputs(answer)
        except (ServingError, KeyError, ValueError) as error:
            raise UpstreamFailed(
                f"the answer of {self._address} cannot be read: {error}"
            ) from error

    async def ready(self, name: str, version: str | None) -> bool:
        """Ask whether the model is ready."""
        message = message_class("ModelReadyRequest")(name=name, version=version or "")
        return bool((await self._call("ModelReady", message, "ModelReadyResponse")).ready)

    async def metadata(self, name: str, version: str | None) -> Metadata:
        """Ask what the model takes and answers."""
        message = message_class("ModelMetadataRequest")(name=name, version=version or "")
        answer = await self._call("ModelMetadata", message, "ModelMetadataResponse")
        return Metadata(
            answer.platform,
            tuple(answer.versions),
            known_specs((item.name, item.datatype, item.shape) for item in answer.inputs),
            known_specs((item.name, item.datatype, item.shape) for item in answer.outputs),
        )

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    @cached_property
    def _channel(self) -> Channel:
        """Connect when the first call comes: a channel belongs to the event loop it is made in."""
        if self._use_ssl:
            return secure_channel(self._address, ssl_channel_credentials(), options=_NO_LIMIT)
        return insecure_channel(self._address, options=_NO_LIMIT)

    async def _call(
        self, method: str, message: Any, answer: str, context: Context | None = None
    ) -> Any:
        call = self._channel.unary_unary(
            _SERVICE + method,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=message_class(answer).FromString,
        )
        try:
            return await call(message, metadata=forwarded(context) if context else ())
        except AioRpcError as error:
            raise self._failure(error) from error

    def _failure(self, error: AioRpcError) -> ServingError:
        code, message = error.code(), str(error.details())
        kind = _ERRORS.get(code)
        if kind is None or (kind is ModelNotReady and not self._is_connected()):
            return UpstreamFailed(
                f"the predictor at {self._address} does not answer ({message}): is it running?"
            )
        return kind(message)

    def _is_connected(self) -> bool:
        """Tell a server that is not ready from one that is not there: both are UNAVAILABLE."""
        return bool(self._channel.get_state().name == "READY")


def _outputs(answer: Any) -> Tensors:
    raw = answer.raw_output_contents
    if not raw:
        return {output.name: _typed(output) for output in answer.outputs}
    return {
        output.name: from_binary(output.name, output.datatype, list(output.shape), memoryview(data))
        for output, data in zip(answer.outputs, raw, strict=True)
    }


def _typed(output: Any) -> Array:
    """Decode an output from the contents field of its datatype; packed floats are bytes."""
    values = getattr(output.contents, _CONTENTS[output.datatype])
    if output.datatype in ("FP32", "FP64"):
        data = memoryview(b"".join(values))
        return from_binary(output.name, output.datatype, list(output.shape), data)
    array = np.empty(len(values), DTYPES[output.datatype])
    array[:] = values
    return array.reshape(tuple(output.shape))
