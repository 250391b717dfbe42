"""The prediction endpoints: decode, one call of the data plane, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelport_serving import logs
from modelport_serving.exchange import Exchange
from modelport_serving.rest import compression, v1, v2
from modelport_serving.rest.replies import JSON_HEADERS, Reply, error_reply
from modelport_serving.roles.explainer import v1_explanations, v2_explanation

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane, Target
    from modelport_serving.rest.connection import Request
    from modelport_serving.tensors import Tensors

_V1, _V2 = "/v1/models/{model_name}", "/v2/models/{model_name}"
_JSON = "application/json"

Encode = Callable[["Tensors"], Reply]


class Predictions:
    """Answers predictions. Nothing here waits: answers come by callback."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def predict(self, request: Request, name: str) -> None:
        """Answer `POST /v1/models/{name}:predict`."""
        exchange = self._begin(request, "v1", f"{_V1}:predict")
        try:
            target = self._plane.find(exchange, name)
            inputs = target.mapping.rows(v1.decode(request.body))
            self._submit(request, exchange, target, inputs, (), None, v1.encode)
        except Exception as error:  # noqa: BLE001 - every failure is answered
            self._fail(request, exchange, error)

    def infer(self, request: Request, name: str, version: str | None) -> None:
        """Answer `POST /v2/models/{name}[/versions/{version}]/infer`."""
        exchange = self._begin(request, "v2", f"{_V2}/infer")
        try:
            target = self._plane.find(exchange, name, version)
            asked = _decode(request, target)
            inputs = target.mapping.tensors(asked.inputs)

            def encode(answers: Tensors) -> Reply:
                return v2.encode(target.name, target.version, asked, answers)

            self._submit(request, exchange, target, inputs, asked.outputs, asked.timeout, encode)
        except Exception as error:  # noqa: BLE001 - every failure is answered
            self._fail(request, exchange, error)

    def explain_rows(self, request: Request, name: str) -> None:
        """Answer `POST /v1/models/{name}:explain`."""
        exchange = self._begin(request, "v1", f"{_V1}:explain")
        self._start(self._explain_rows(request, exchange, name))

    def explain_tensors(self, request: Request, name: str, version: str | None) -> None:
        """Answer `POST /v2/models/{name}[/versions/{version}]/explain`."""
        exchange = self._begin(request, "v2", f"{_V2}/explain")
        self._start(self._explain_tensors(request, exchange, name, version))

    async def _explain_rows(self, request: Request, exchange: Exchange, name: str) -> None:
        try:
            target = self._plane.find_explained(exchange, name)
            inputs = target.mapping.rows(v1.decode(request.body))
            parameters, deadline = v1.parameters(request.body), self._deadline(None)
            exchange.decoded()
            result = await self._plane.explain(exchange, target, inputs, parameters, deadline)
            exchange.predicted()
            reply = Reply(200, JSON_HEADERS, v1_explanations(result))
        except Exception as error:  # noqa: BLE001 - every failure is answered
            self._fail(request, exchange, error)
        else:
            self._reply(request, exchange, reply)

    async def _explain_tensors(
        self, request: Request, exchange: Exchange, name: str, version: str | None
    ) -> None:
        try:
            target = self._plane.find_explained(exchange, name, version)
            asked = _decode(request, target)
            inputs = target.mapping.tensors(asked.inputs)
            deadline = self._deadline(asked.timeout)
            exchange.decoded()
            result = await self._plane.explain(exchange, target, inputs, asked.parameters, deadline)
            exchange.predicted()
            reply = v2.encode(target.name, target.version, asked, v2_explanation(result))
        except Exception as error:  # noqa: BLE001 - every failure is answered
            self._fail(request, exchange, error)
        else:
            self._reply(request, exchange, reply)

    def _begin(self, request: Request, protocol: str, route: str) -> Exchange:
        exchange = Exchange(self._plane.watchers, protocol, route, request.headers)
        if (payloads := self._plane.watchers.payloads) is not None:
            content_type = request.headers.get("content-type", _JSON)
            metadata = _metadata(request.headers)
            payloads.request(exchange.request_id or "", content_type, request.body, metadata)
        return exchange

    def _deadline(self, timeout: float | None) -> float:
        most = self._plane.timeout_seconds
        return self._loop.time() + (most if timeout is None else min(timeout, most))

    def _submit(
        self,
        request: Request,
        exchange: Exchange,
        target: Target,
        inputs: Tensors,
        outputs: Sequence[str],
        timeout: float | None,
        encode: Encode,
    ) -> None:
        def done(answers: Tensors | None, error: Exception | None) -> None:
            exchange.predicted()
            if answers is None:
                self._fail(request, exchange, error or AssertionError("no answer, no error"))
                return
            try:
                reply = encode(answers)
            except Exception as failure:  # noqa: BLE001 - every failure is answered
                self._fail(request, exchange, failure)
            else:
                self._reply(request, exchange, reply)

        exchange.decoded()
        deadline = self._deadline(timeout)
        self._plane.submit(exchange, target, inputs, outputs, deadline, done)
        request.on_gone = exchange.give_up

    def _fail(self, request: Request, exchange: Exchange, error: Exception) -> None:
        # Who reads of a failure in the log must find the request, and its caller the log.
        exchange.request_id = logs.request_id(exchange.request_id)
        with logs.for_request(exchange.request_id):
            reply = error_reply(error)
        self._reply(request, exchange, reply)

    def _reply(self, request: Request, exchange: Exchange, reply: Reply) -> None:
        payloads = self._plane.watchers.payloads
        if payloads is not None and reply.status == 200:
            headers = dict(reply.headers)
            metadata = _metadata(headers)
            payloads.response(
                exchange.request_id or "", headers["content-type"], reply.body, metadata
            )
        if "accept-encoding" in request.headers:
            reply = compression.compress(request, reply)
        if exchange.request_id is not None:
            with_id = [*reply.headers, ("x-request-id", exchange.request_id)]
            reply = Reply(reply.status, with_id, reply.body)
        request.reply(reply)
        exchange.finished(reply.status)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)


def _decode(request: Request, target: Target) -> v2.InferRequest:
    return v2.decode(request.body, request.headers.get(v2.LENGTH_HEADER), target.inputs)


def _metadata(headers: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the headers without which a logged body cannot be read."""
    length = headers.get(v2.LENGTH_HEADER)
    return {} if length is None else {v2.LENGTH_HEADER: [length]}
