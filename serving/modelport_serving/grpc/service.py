"""`inference.GRPCInferenceService`: the calls of the Open Inference Protocol on the data plane."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from modelport_serving import logs
from modelport_serving.errors import (
    InvalidInput,
    ModelNotReady,
    NotSupported,
    PayloadTooLarge,
    Unauthenticated,
)
from modelport_serving.exchange import Exchange
from modelport_serving.grpc import codec, compression
from modelport_serving.grpc.messages import PACKAGE, message_class
from modelport_serving.grpc.status import Code, status_of
from modelport_serving.model import ModelState

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane
    from modelport_serving.grpc.rpc import Rpc
    from modelport_serving.tensors import Tensors, TensorSpec

_SERVICE = f"/{PACKAGE}.GRPCInferenceService/"
_OPEN_METHODS = frozenset({f"{_SERVICE}ServerLive", f"{_SERVICE}ServerReady"})
"""What needs no token: kubelets and load balancers have none."""

_EXTENSIONS = ("model_repository",)
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])", re.ASCII)
_PROTOBUF = "application/x-protobuf"
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

Authorized = Callable[[str | None], bool]


class InferenceService:
    """Answers the calls of one server.

    Args:
        plane: The data plane that predicts.
        authorized: Whether an `authorization` header, or none, may call.
        max_receive_message_length: The largest request message in bytes.
        max_send_message_length: The largest response message in bytes.
    """

    def __init__(
        self,
        plane: DataPlane,
        *,
        authorized: Authorized,
        max_receive_message_length: int,
        max_send_message_length: int,
    ) -> None:
        self.max_receive_message_length = max_receive_message_length
        self._max_send_message_length = max_send_message_length
        self._plane = plane
        self._authorized = authorized
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._methods: dict[str, Callable[[Rpc, memoryview], None]] = {
            f"{_SERVICE}ModelInfer": self._infer,
            f"{_SERVICE}ServerLive": self._question(None, self._live),
            f"{_SERVICE}ServerReady": self._question(None, self._ready),
            f"{_SERVICE}ServerMetadata": self._question(None, self._server_metadata),
            f"{_SERVICE}ModelReady": self._question("ModelReadyRequest", self._model_ready),
            f"{_SERVICE}ModelMetadata": self._question(
                "ModelMetadataRequest", self._model_metadata
            ),
            f"{_SERVICE}RepositoryIndex": self._question("RepositoryIndexRequest", self._index),
            f"{_SERVICE}RepositoryModelLoad": self._load,
            f"{_SERVICE}RepositoryModelUnload": self._unload,
        }

    def admit(self, rpc: Rpc) -> None:
        """Refuse a call by its metadata, before its message is read."""
        try:
            rpc.deadline = self._loop.time() + self._timeout(rpc.metadata.get("grpc-timeout"))
            self._check(rpc.path, rpc.metadata)
        except Exception as error:  # noqa: BLE001 - every failure is answered
            rpc.fail(*status_of(error))

    def _check(self, path: str, metadata: Mapping[str, str]) -> None:
        if path not in self._methods:
            raise NotSupported(f"there is no method {path} here")
        if not metadata.get("content-type", "").startswith("application/grpc"):
            raise NotSupported("this port speaks gRPC alone: content-type application/grpc")
        if path not in _OPEN_METHODS and not self._authorized(metadata.get("authorization")):
            raise Unauthenticated("a valid bearer token is needed: authorization: Bearer")

    def handle(self, rpc: Rpc, message: memoryview) -> None:
        """Answer one call. No error leaves this method."""
        if rpc.is_compressed:
            self._start(rpc, self._expand(rpc, message))
        else:
            self._call(rpc, message)

    def _call(self, rpc: Rpc, message: memoryview) -> None:
        try:
            self._methods[rpc.path](rpc, message)
        except Exception as error:  # noqa: BLE001 - every failure is answered
            rpc.fail(*status_of(error))

    def _infer(self, rpc: Rpc, message: memoryview) -> None:
        watchers = self._plane.watchers
        exchange = Exchange(watchers, "grpc", rpc.path, rpc.metadata)
        if watchers.payloads is not None:
            watchers.payloads.request(exchange.request_id or "", _PROTOBUF, bytes(message))
        try:
            self._submit(rpc, exchange, codec.decode(message))
        except Exception as error:  # noqa: BLE001 - every failure is answered
            _fail(rpc, exchange, error)

    def _submit(self, rpc: Rpc, exchange: Exchange, request: codec.InferRequest) -> None:
        plane = self._plane
        target = plane.find(exchange, request.model_name, request.model_version)
        inputs = target.mapping.tensors(request.inputs)
        deadline = rpc.deadline
        if request.timeout is not None:
            deadline = min(deadline, self._loop.time() + request.timeout)

        def done(answers: Tensors | None, error: Exception | None) -> None:
            exchange.predicted()
            if answers is None:
                _fail(rpc, exchange, error or AssertionError("neither answers nor an error"))
                return
            try:
                self._answer(rpc, exchange, codec.encode(target.version, request, answers))
            except Exception as failure:  # noqa: BLE001 - every failure is answered
                _fail(rpc, exchange, failure)

        exchange.decoded()
        plane.submit(exchange, target, inputs, request.outputs, deadline, done)
        if (call := exchange.call) is not None:

            def give_up() -> None:
                call.cancel()
                exchange.finished(Code.CANCELLED)

            rpc.on_gone = give_up

    def _answer(self, rpc: Rpc, exchange: Exchange, message: codec.Message) -> None:
        if message.size > self._max_send_message_length:
            raise PayloadTooLarge(
                f"the answer is larger than {self._max_send_message_length} bytes: ask for fewer "
                "rows, or start the server with a larger --grpc_max_send_message_length"
            )
        if (payloads := self._plane.watchers.payloads) is not None:
            payloads.response(exchange.request_id or "", _PROTOBUF, b"".join(message.parts))
        rpc.request_id = exchange.request_id
        rpc.answer(message.parts, message.size)
        exchange.finished(Code.OK)

    def _question(
        self, request_type: str | None, answer: Callable[[Any], Coroutine[Any, Any, Any]]
    ) -> Callable[[Rpc, memoryview], None]:
        """Return a method that tells something; without a type its requests have no fields."""
        message_type = request_type and message_class(request_type)

        def method(rpc: Rpc, message: memoryview) -> None:
            request = message_type and codec.parse(message_type, bytes(message))
            self._start(rpc, self._tell(rpc, answer(request)))

        return method

    async def _tell(self, rpc: Rpc, answer: Coroutine[Any, Any, Any]) -> None:
        _send(rpc, await answer)

    async def _live(self, _: None) -> Any:
        return message_class("ServerLiveResponse")(live=True)

    async def _ready(self, _: None) -> Any:
        return message_class("ServerReadyResponse")(ready=await self._plane.is_ready())

    async def _server_metadata(self, _: None) -> Any:
        return message_class("ServerMetadataResponse")(
            name="modelport", version=version("modelport"), extensions=_EXTENSIONS
        )

    async def _model_ready(self, request: Any) -> Any:
        """Answer as KServe: a model that is not here is NOT_FOUND, one that loads is not ready."""
        try:
            ready = await self._plane.is_ready(request.name, request.version or None)
        except ModelNotReady:
            ready = False
        return message_class("ModelReadyResponse")(ready=ready)

    async def _model_metadata(self, request: Any) -> Any:
        known = await self._plane.metadata(request.name, request.version or None)
        return message_class("ModelMetadataResponse")(
            name=request.name,
            versions=known.versions,
            platform=known.platform,
            inputs=map(_tensor_metadata, known.inputs),
            outputs=map(_tensor_metadata, known.outputs),
        )

    async def _index(self, request: Any) -> Any:
        return message_class("RepositoryIndexResponse")(
            models=[
                {
                    "name": entry.name,
                    "version": entry.version or "",
                    "state": str(entry.state),
                    "reason": entry.reason,
                }
                for entry in self._plane.repository.index()
                if entry.state is ModelState.READY or not request.ready
            ]
        )

    def _load(self, rpc: Rpc, message: memoryview) -> None:
        name = _model_name("RepositoryModelLoadRequest", message)
        reply = message_class("RepositoryModelLoadResponse")(model_name=name, isLoaded=True)
        self._start(rpc, self._manage(rpc, self._plane.control.load(name), reply))

    def _unload(self, rpc: Rpc, message: memoryview) -> None:
        name = _model_name("RepositoryModelUnloadRequest", message)
        reply = message_class("RepositoryModelUnloadResponse")(model_name=name, isUnloaded=True)
        self._start(rpc, self._manage(rpc, self._plane.control.unload(name), reply))

    async def _manage(self, rpc: Rpc, work: Coroutine[Any, Any, None], reply: Any) -> None:
        await work
        _send(rpc, reply)

    async def _expand(self, rpc: Rpc, message: memoryview) -> None:
        """Expand a message in a thread: it may become a thousand times as large."""
        encoding = rpc.metadata.get("grpc-encoding", "identity")
        limit = self.max_receive_message_length
        self._call(
            rpc,
            await self._loop.run_in_executor(None, compression.expand, message, encoding, limit),
        )

    def _start(self, rpc: Rpc, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - every failure is answered
                rpc.fail(*status_of(error))

        task = self._loop.create_task(run())
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)

    def _timeout(self, text: str | None) -> float:
        """Return how long the caller waits, in seconds, and the server at most."""
        most = self._plane.timeout_seconds
        if text is None:
            return most
        match = _TIMEOUT.fullmatch(text)
        if match is None:
            raise InvalidInput(f"grpc-timeout is {text[:20]!r}: expected digits and a unit")
        return min(most, int(match[1]) * _SECONDS[match[2]])


def _send(rpc: Rpc, message: Any) -> None:
    data = message.SerializeToString()
    rpc.answer((data,), len(data))


def _fail(rpc: Rpc, exchange: Exchange, error: Exception) -> None:
    # Who reads of a failure in the log must find the request, and its caller the log.
    rpc.request_id = exchange.request_id = logs.request_id(exchange.request_id)
    with logs.for_request(exchange.request_id):
        code, message = status_of(error)
    rpc.fail(code, message)
    exchange.finished(code)


def _model_name(request_type: str, message: memoryview) -> str:
    """Return the model that Triton's field names, or else KServe's, which is its first."""
    request = codec.parse(message_class(request_type), bytes(message))
    name: str = request.model_name or request.repository_name
    return name


def _tensor_metadata(spec: TensorSpec) -> Any:
    return message_class("ModelMetadataResponse.TensorMetadata")(
        name=spec.name, datatype=spec.datatype, shape=spec.shape
    )
