"""Metadata, management and docs, on FastAPI."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, StrictBool
from starlette.exceptions import HTTPException

from modelport_serving.errors import InvalidInput, ModelNotReady, ServingError
from modelport_serving.model import ModelState
from modelport_serving.rest.openapi import complete
from modelport_serving.rest.replies import Reply, error_reply, json_reply

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane
    from modelport_serving.repository import IndexEntry
    from modelport_serving.tensors import TensorSpec

_EXTENSIONS = ["binary_tensor_data", "model_repository"]


def build(plane: DataPlane, *, enable_docs: bool) -> FastAPI:
    """Build the application for everything but predictions, health and metrics."""
    app = _application(enable_docs=enable_docs)
    _add_v1(app, plane)
    _add_v2(app, plane)
    _add_repository(app, plane)
    app.add_exception_handler(ServingError, _serving_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    generate = app.openapi
    app.openapi = lambda: complete(generate(), plane.repository)  # type: ignore[method-assign]
    return app


def _application(*, enable_docs: bool) -> FastAPI:
    facts: dict[str, Any] = {
        "title": "Modelport",
        "version": version("modelport"),
        "redoc_url": None,
        "redirect_slashes": False,
    }
    if not enable_docs:
        return FastAPI(docs_url=None, openapi_url=None, **facts)
    # FastAPI's own page loads its scripts from a CDN: blank where there is no internet.
    from fastapi_offline import FastAPIOffline

    app: FastAPI = FastAPIOffline(**facts, swagger_ui_parameters={"tryItOutEnabled": True})
    return app


def _add_v1(app: FastAPI, plane: DataPlane) -> None:
    @app.get("/", tags=["server"])
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/v1/models", tags=["V1"])
    async def list_models() -> dict[str, list[str]]:
        return {"models": plane.names()}

    @app.get("/v1/models/{model_name}", tags=["V1"])
    async def model_state(model_name: str) -> dict[str, Any]:
        return await _state(plane, model_name)


def _add_v2(app: FastAPI, plane: DataPlane) -> None:
    @app.get("/v2", tags=["V2"])
    async def server_metadata() -> dict[str, Any]:
        return {"name": "modelport", "version": app.version, "extensions": _EXTENSIONS}

    @app.get("/v2/models", tags=["V2"])
    async def list_models() -> dict[str, list[str]]:
        return {"models": plane.names()}

    @app.get("/v2/models/{model_name}", tags=["V2"])
    async def model_metadata(model_name: str) -> dict[str, Any]:
        return await _metadata(plane, model_name)

    @app.get("/v2/models/{model_name}/versions/{version}", tags=["V2"])
    async def version_metadata(model_name: str, version: str) -> dict[str, Any]:
        return await _metadata(plane, model_name, version)

    @app.get("/v2/models/{model_name}/ready", tags=["V2"])
    async def model_ready(model_name: str) -> dict[str, Any]:
        return await _state(plane, model_name)

    @app.get("/v2/models/{model_name}/versions/{version}/ready", tags=["V2"])
    async def version_ready(model_name: str, version: str) -> dict[str, Any]:
        return await _state(plane, model_name, version)


async def _metadata(plane: DataPlane, name: str, version: str | None = None) -> dict[str, Any]:
    known = await plane.metadata(name, version)
    return {
        "name": name,
        **({"versions": known.versions} if known.versions else {}),
        "platform": known.platform,
        "inputs": [_tensor_metadata(spec) for spec in known.inputs],
        "outputs": [_tensor_metadata(spec) for spec in known.outputs],
    }


async def _state(plane: DataPlane, name: str, version: str | None = None) -> dict[str, Any]:
    if not await plane.is_ready(name, version):
        raise ModelNotReady(f"model {name!r} is not ready: {plane.unready_reason}")
    return {"name": name, "ready": True}


def _add_repository(app: FastAPI, plane: DataPlane) -> None:
    @app.post("/v2/repository/index", tags=["repository"])
    async def index(asked: _IndexRequest | None = None) -> list[dict[str, str]]:
        only_ready = asked is not None and asked.ready
        entries = plane.repository.index()
        return [_entry(e) for e in entries if e.state == ModelState.READY or not only_ready]

    @app.post("/v2/repository/models/{model_name}/load", tags=["repository"])
    async def load(model_name: str) -> dict[str, Any]:
        await plane.control.load(model_name)
        return {"name": model_name, "load": True}

    @app.post("/v2/repository/models/{model_name}/unload", tags=["repository"])
    async def unload(model_name: str) -> dict[str, Any]:
        await plane.control.unload(model_name)
        return {"name": model_name, "unload": True}


class _IndexRequest(BaseModel):
    """What the index shall list."""

    ready: StrictBool = False


def _entry(entry: IndexEntry) -> dict[str, str]:
    """Return an entry as Triton's repository extension has it; no version is an empty one."""
    return {
        "name": entry.name,
        "version": entry.version or "",
        "state": entry.state,
        "reason": entry.reason,
    }


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


async def _serving_error(_: Request, error: Exception) -> Response:
    return _response(error_reply(error))


async def _http_error(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    message = f"{request.method} {request.url.path}: {getattr(error, 'detail', error)}"
    reply = json_reply({"error": message}, status)
    headers = list((getattr(error, "headers", None) or {}).items())
    return _response(Reply(status, [*reply.headers, *headers], reply.body))


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    problems = ("{}: {}".format(".".join(map(str, p["loc"])), p["msg"]) for p in error.errors())
    return _response(error_reply(InvalidInput("; ".join(problems))))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))
