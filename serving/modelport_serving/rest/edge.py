"""The HTTP edge as one raw RSGI callable, in front of FastAPI.

Predictions and health probes are answered here: FastAPI's cost per request is most of a small
model's latency, and importing it would double the time to ready. It is loaded in a thread when
something else is asked for the first time.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from modelport_serving.errors import PayloadTooLarge
from modelport_serving.rest import predictions
from modelport_serving.rest.bridge import AsgiApp, call_asgi
from modelport_serving.rest.replies import Reply, error_reply, json_reply
from modelport_serving.rest.v2 import LENGTH_HEADER

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane

_V1, _PREDICT = "/v1/models/", ":predict"
_V2, _INFER = "/v2/models/", "/infer"
_CLOSE = ("connection", "close")


class _CallerGone(Exception):
    """The caller closed the connection before its request was whole."""


class Edge:
    """Routes requests to the data plane or to FastAPI, and counts those that are open."""

    def __init__(self, plane: DataPlane, *, max_body_bytes: int, enable_docs: bool) -> None:
        self.draining = False
        self.in_flight = 0
        self.last_prediction = 0.0
        self._plane = plane
        self._max_body_bytes = max_body_bytes
        self._enable_docs = enable_docs
        self._management: asyncio.Future[AsgiApp] | None = None

    async def __call__(self, scope: Any, proto: Any) -> None:
        """Answer one RSGI request. No error leaves this method."""
        self.in_flight += 1
        try:
            try:
                reply = await self._answer(scope, proto)
            except _CallerGone:
                return
            except Exception as error:  # noqa: BLE001 - the edge answers every error
                reply = error_reply(error)
            headers = [*reply.headers, _CLOSE] if self.draining else reply.headers
            proto.response_bytes(reply.status, headers, reply.body)
        finally:
            self.in_flight -= 1

    async def _answer(self, scope: Any, proto: Any) -> Reply:
        path: str = scope.path
        if path.startswith(_V2) and path.endswith(_INFER):
            name = path[len(_V2) : -len(_INFER)]
            if "/" not in name:
                return await self._infer(name, scope, proto)
        elif path.startswith(_V1) and path.endswith(_PREDICT):
            return await self._predict(path[len(_V1) : -len(_PREDICT)], scope, proto)
        elif path == "/v2/health/live" and scope.method == "GET":
            return json_reply({"live": True})
        elif path == "/v2/health/ready" and scope.method == "GET":
            return self._readiness()
        body = await self._body(scope.headers, proto)
        return await call_asgi(await self._management_app(), scope, body)

    async def _infer(self, name: str, scope: Any, proto: Any) -> Reply:
        if scope.method != "POST":
            return _post_only()
        self.last_prediction = time.monotonic()
        headers = scope.headers
        body = await self._body(headers, proto)
        return await predictions.infer(self._plane, name, body, headers.get(LENGTH_HEADER))

    async def _predict(self, name: str, scope: Any, proto: Any) -> Reply:
        if scope.method != "POST":
            return _post_only()
        self.last_prediction = time.monotonic()
        body = await self._body(scope.headers, proto)
        return await predictions.predict(self._plane, name, body)

    def _readiness(self) -> Reply:
        """Answer with both keys: the protocol's text says `live`, KServe's client reads `ready`."""
        ready = self._plane.ready and not self.draining
        state: dict[str, Any] = {"ready": ready, "live": ready}
        if ready:
            return json_reply(state)
        why = "the server is stopping" if self.draining else "the model is not loaded yet"
        return json_reply({**state, "error": why}, 503)

    async def _body(self, headers: Any, proto: Any) -> bytes:
        """Read the body, but no more of it than the limit allows."""
        length = headers.get("content-length")
        if length is not None and int(length) > self._max_body_bytes:
            raise self._too_large()
        try:
            body: bytes = await (self._chunks(proto) if length is None else proto())
        except RuntimeError as error:  # what RSGI raises when the transport is closed
            raise _CallerGone from error
        return body

    async def _chunks(self, proto: Any) -> bytes:
        """Read a body whose length the caller did not tell."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in proto:
            size += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_large()
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the body is larger than {self._max_body_bytes} bytes: "
            "send fewer rows a request, or start the server with a larger --max_body_bytes"
        )

    async def _management_app(self) -> AsgiApp:
        if self._management is None:
            loop = asyncio.get_running_loop()
            self._management = loop.run_in_executor(None, self._build_management)
        # One caller that goes away must not cancel what the others wait for.
        return await asyncio.shield(self._management)

    def _build_management(self) -> AsgiApp:
        from modelport_serving.rest.management import build

        return build(self._plane, enable_docs=self._enable_docs)


def _post_only() -> Reply:
    reply = json_reply({"error": "predictions are asked for with POST"}, 405)
    return Reply(reply.status, [*reply.headers, ("allow", "POST")], reply.body)
