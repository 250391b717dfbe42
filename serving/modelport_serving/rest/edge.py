"""The HTTP edge: routes requests to the data plane, or to FastAPI behind it.

Predictions, health and metrics are answered here: FastAPI's cost per request is several times
that of a small model's whole answer, and importing it would double the time to ready. It is loaded
in a thread when something else is asked for the first time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from modelport_serving.errors import PayloadTooLarge, Unauthenticated
from modelport_serving.rest import compression
from modelport_serving.rest.bridge import AsgiApp, call_asgi
from modelport_serving.rest.predictions import Predictions
from modelport_serving.rest.replies import Reply, error_reply, json_reply

if TYPE_CHECKING:
    from modelport_serving.auth import Token
    from modelport_serving.dataplane import DataPlane
    from modelport_serving.rest.connection import Request

_V1, _PREDICT, _EXPLAIN = "/v1/models/", ":predict", ":explain"
_V2, _INFER, _V2_EXPLAIN = "/v2/models/", "/infer", "/explain"
_VERSIONS = "/versions/"
_LIVE, _READY, _METRICS = "/v2/health/live", "/v2/health/ready", "/metrics"
_OPEN_PATHS = frozenset({"/", _LIVE, _READY})
"""What needs no token: kubelets and load balancers have none."""

_DOCS_PATHS = frozenset({"/docs", "/openapi.json"})
_DOCS_FOLDER = "/static-offline-docs/"


class Edge:
    """Routes requests to the data plane or to FastAPI."""

    def __init__(
        self,
        plane: DataPlane,
        *,
        max_body_bytes: int,
        enable_docs: bool,
        token: Token | None,
    ) -> None:
        self.draining = False
        self.last_prediction = 0.0
        self.max_body_bytes = max_body_bytes
        self._plane = plane
        self._enable_docs = enable_docs
        self._token = token
        self._predictions = Predictions(plane)
        self._management: asyncio.Future[AsgiApp] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def admit(self, request: Request) -> Reply | None:
        """Refuse callers without the token before their bodies are read."""
        token = self._token
        if token is None or self._is_open(request.path):
            return None
        if token.admits(request.headers.get("authorization")):
            return None
        reply = error_reply(
            Unauthenticated("a valid bearer token is needed: Authorization: Bearer")
        )
        return Reply(reply.status, [*reply.headers, ("www-authenticate", "Bearer")], reply.body)

    def _is_open(self, path: str) -> bool:
        """Whether a path needs no token: the docs page asks for it itself."""
        is_docs = path in _DOCS_PATHS or path.startswith(_DOCS_FOLDER)
        return path in _OPEN_PATHS or (self._enable_docs and is_docs)

    def too_large(self) -> PayloadTooLarge:
        """Say how much is too much."""
        return PayloadTooLarge(
            f"the body is larger than {self.max_body_bytes} bytes: "
            "send fewer rows a request, or start the server with a larger --max_body_bytes"
        )

    def handle(self, request: Request) -> None:
        """Answer one request. No error leaves this method."""
        if "content-encoding" in request.headers:
            self._start(self._expand(request))
        else:
            self._route(request)

    def _route(self, request: Request) -> None:
        path = request.path
        try:
            if path.startswith(_V2) and path.endswith(_INFER):
                self._infer(request, path[len(_V2) : -len(_INFER)])
            elif path.startswith(_V1) and path.endswith(_PREDICT):
                self._predict(request, path[len(_V1) : -len(_PREDICT)])
            else:
                self._handle_others(request, path)
        except Exception as error:  # noqa: BLE001 - the edge answers every error
            request.reply(error_reply(error))

    def _infer(self, request: Request, target: str) -> None:
        if self._is_prediction(request):
            name, _, version = target.partition(_VERSIONS)
            self._predictions.infer(request, name, version or None)

    def _predict(self, request: Request, name: str) -> None:
        if self._is_prediction(request):
            self._predictions.predict(request, name)

    def _is_prediction(self, request: Request) -> bool:
        if self.draining:
            self.last_prediction = time.monotonic()
        if request.method == b"POST":
            return True
        request.reply(_only("POST", request))
        return False

    def _handle_others(self, request: Request, path: str) -> None:
        if path.startswith(_V1) and path.endswith(_EXPLAIN):
            if self._is_prediction(request):
                self._predictions.explain_rows(request, path[len(_V1) : -len(_EXPLAIN)])
        elif path.startswith(_V2) and path.endswith(_V2_EXPLAIN):
            if self._is_prediction(request):
                name, _, version = path[len(_V2) : -len(_V2_EXPLAIN)].partition(_VERSIONS)
                self._predictions.explain_tensors(request, name, version or None)
        elif path in (_LIVE, _READY, _METRICS):
            self._observe(request, path)
        else:
            self._start(self._manage(request))

    def _observe(self, request: Request, path: str) -> None:
        if request.method not in (b"GET", b"HEAD"):
            request.reply(_only("GET", request))
        elif path == _LIVE:
            request.reply(json_reply({"live": True}))
        elif path == _READY:
            self._start(self._tell_readiness(request))
        else:
            self._start(self._expose(request))

    async def _tell_readiness(self, request: Request) -> None:
        """Answer with both keys: the protocol's text says `live`, KServe's client reads `ready`."""
        ready = await self._plane.is_ready()
        state: dict[str, Any] = {"ready": ready, "live": ready}
        if ready:
            request.reply(json_reply(state))
        else:
            request.reply(json_reply({**state, "error": self._plane.unready_reason}, 503))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)

    async def _expand(self, request: Request) -> None:
        """Expand a compressed body in a thread: it may become a thousand times as large."""
        loop = asyncio.get_running_loop()
        try:
            request.body = await loop.run_in_executor(
                None, compression.expand, request, self.max_body_bytes, self.too_large
            )
        except Exception as error:  # noqa: BLE001 - the edge answers every error
            request.reply(error_reply(error))
        else:
            self._route(request)

    async def _expose(self, request: Request) -> None:
        """Answer with the metrics; adding them up takes longer than many a prediction."""
        loop = asyncio.get_running_loop()
        expose, accept = self._plane.watchers.metrics.expose, request.headers.get("accept")
        body, content_type = await loop.run_in_executor(None, expose, accept)
        request.reply(Reply(200, [("content-type", content_type)], body))

    async def _manage(self, request: Request) -> None:
        try:
            reply = await call_asgi(await self._management_app(), request)
        except Exception as error:  # noqa: BLE001 - the edge answers every error
            reply = error_reply(error)
        request.reply(reply)

    async def _management_app(self) -> AsgiApp:
        if self._management is None:
            loop = asyncio.get_running_loop()
            self._management = loop.run_in_executor(None, self._build_management)
        # One caller that goes away must not cancel what the others wait for.
        return await asyncio.shield(self._management)

    def _build_management(self) -> AsgiApp:
        from modelport_serving.rest.management import build

        return build(self._plane, enable_docs=self._enable_docs)


def _only(method: str, request: Request) -> Reply:
    reply = json_reply({"error": f"{request.path} is asked for with {method}"}, 405)
    return Reply(reply.status, [*reply.headers, ("allow", method)], reply.body)
