"""The engine's API over HTTP, with Kubernetes' own paths, verbs and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from modelport_engine import objects
from modelport_engine.errors import (
    Conflict,
    EngineError,
    EngineUnavailable,
    InvalidObject,
    NotFound,
    StorageFailed,
)
from modelport_engine.state.records import Key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from modelport_engine.controller import Controller

BODY_LIMIT = 1024 * 1024
"""Bytes of an object; etcd's limit in a cluster is about the same."""

WATCH_LIMIT = 3600.0
"""Seconds that one watch may last."""

SERVICES = f"/apis/{objects.API_VERSION}/inferenceservices"
NAMESPACED = f"/apis/{objects.API_VERSION}/namespaces/{{namespace}}/inferenceservices"
ONE = f"{NAMESPACED}/{{name:path}}"
"""One object; a name that cannot be one reaches us whole, and is refused in plain words."""

PART = f"{NAMESPACED}/{{name}}"
"""What belongs to one object is found below this."""

EVENTS = "/api/v1/events"

HTTP_STATUS: dict[type[EngineError], int] = {
    InvalidObject: 422,
    NotFound: 404,
    Conflict: 409,
    EngineUnavailable: 503,
    StorageFailed: 507,
    EngineError: 500,
}
"""The one place where an error gets its HTTP status; a subclass has its parent's."""


def application(
    controller: Controller, info: Callable[[], dict[str, Any]], shut_down: Callable[[], None]
) -> Starlette:
    """Build the API.

    Args:
        controller: What carries the operations out.
        info: Gives the answer of `/version`.
        shut_down: Begins the engine's end and returns at once.
    """
    api = _Api(controller, info, shut_down)
    return Starlette(
        routes=[
            Route("/healthz", api.health),
            Route("/version", api.version),
            Route("/shutdown", api.shutdown, methods=["POST"]),
            Route(SERVICES, api.list),
            Route(NAMESPACED, api.list),
            Route(EVENTS, api.events),
            Route("/api/v1/namespaces/{namespace}/events", api.events),
            Route(f"{PART}/events", api.events),
            Route(f"{PART}/revisions", api.revisions),
            Route(f"{PART}/replicas", api.replicas),
            Route(f"{PART}/rollback", api.rollback, methods=["POST"]),
            Route(ONE, api.get),
            Route(ONE, api.put, methods=["PUT"]),
            Route(ONE, api.delete, methods=["DELETE"]),
        ],
        exception_handlers={EngineError: _failure, HTTPException: _no_such_path},
    )


class _Api:
    def __init__(
        self,
        controller: Controller,
        info: Callable[[], dict[str, Any]],
        shut_down: Callable[[], None],
    ) -> None:
        self._controller = controller
        self._info = info
        self._shut_down = shut_down

    async def health(self, _: Request) -> Response:
        if self._controller.stopping:
            raise EngineUnavailable("the engine is stopping")
        return JSONResponse({"status": "ok"})

    async def version(self, _: Request) -> Response:
        return JSONResponse(self._info())

    async def shutdown(self, _: Request) -> Response:
        self._shut_down()
        return JSONResponse({"status": "stopping"}, status_code=202)

    async def list(self, request: Request) -> Response:
        return JSONResponse(self._controller.list(request.path_params.get("namespace")))

    async def get(self, request: Request) -> Response:
        key = _key(request)
        if request.query_params.get("watch") not in ("true", "1"):
            return JSONResponse(self._controller.get(key))
        events = self._controller.watch(key, _seconds(request))
        return StreamingResponse(_lines(events), media_type="application/json")

    async def put(self, request: Request) -> Response:
        return JSONResponse(self._controller.apply(await _document(request), _key(request)))

    async def events(self, request: Request) -> Response:
        parameters = request.path_params
        found = self._controller.events(parameters.get("namespace"), parameters.get("name"))
        return JSONResponse(found)

    async def revisions(self, request: Request) -> Response:
        return JSONResponse(self._controller.revisions(_key(request)))

    async def replicas(self, request: Request) -> Response:
        return JSONResponse(self._controller.replicas(_key(request)))

    async def rollback(self, request: Request) -> Response:
        wanted = await _document(request)
        number = wanted.get("revision") if isinstance(wanted, dict) else None
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise InvalidObject(f"revision {number!r} is not a number", "see the kept revisions")
        return JSONResponse(self._controller.rollback(_key(request), number))

    async def delete(self, request: Request) -> Response:
        return JSONResponse(self._controller.delete(_key(request)))


async def _document(request: Request) -> Any:
    body = await _body(request)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidObject("the body is not JSON", "send the object as JSON") from None


def _key(request: Request) -> Key:
    return Key(request.path_params["namespace"], request.path_params["name"])


def _seconds(request: Request) -> float:
    try:
        asked = float(request.query_params.get("timeoutSeconds", WATCH_LIMIT))
    except ValueError:
        raise InvalidObject("timeoutSeconds is not a number", "give seconds") from None
    return min(asked, WATCH_LIMIT) if asked > 0 else WATCH_LIMIT


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise InvalidObject(f"the object is larger than {BODY_LIMIT} bytes", "make it smaller")
    return bytes(body)


async def _lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for event in events:
        yield json.dumps(event).encode() + b"\n"


async def _no_such_path(request: Request, error: Exception) -> Response:
    what = f"{request.method} {request.url.path} is not part of the engine's API"
    return await _failure(request, NotFound(what, str(error)))


async def _failure(request: Request, error: Exception) -> Response:
    """Give an error as Kubernetes' Status object."""
    if not isinstance(error, EngineError):
        raise error
    code = next(HTTP_STATUS[kind] for kind in type(error).__mro__ if kind in HTTP_STATUS)
    details = {"what": error.what, "todo": error.todo, "kind": "inferenceservices"}
    if "name" in request.path_params:
        details["name"] = request.path_params["name"]
    return JSONResponse(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(error),
            "reason": error.reason,
            "details": details,
            "code": code,
        },
        status_code=code,
    )
