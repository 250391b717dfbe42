"""Metadata, management and docs, on FastAPI."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from modelport_serving.errors import InvalidInput, NotSupported, ServingError
from modelport_serving.rest.openapi import complete
from modelport_serving.rest.replies import Reply, error_reply, json_reply

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane
    from modelport_serving.tensors import TensorSpec

_EXTENSIONS = ["binary_tensor_data"]


def build(plane: DataPlane, *, enable_docs: bool) -> FastAPI:
    """Build the application for everything but predictions and health."""
    app = FastAPI(
        title="Modelport",
        version=version("modelport"),
        docs_url="/docs" if enable_docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if enable_docs else None,
        redirect_slashes=False,
    )
    _add_v1(app, plane)
    _add_v2(app, plane)
    app.add_exception_handler(ServingError, _serving_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    generate = app.openapi
    app.openapi = lambda: complete(generate())  # type: ignore[method-assign]
    return app


def _add_v1(app: FastAPI, plane: DataPlane) -> None:
    @app.get("/", tags=["server"])
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/v1/models", tags=["V1"])
    async def list_models() -> dict[str, list[str]]:
        return {"models": list(plane.models)}

    @app.get("/v1/models/{model_name}", tags=["V1"])
    async def model_state(model_name: str) -> dict[str, Any]:
        return {"name": plane.model(model_name).name, "ready": True}

    @app.post("/v1/models/{model_name}:explain", tags=["V1"])
    async def explain(model_name: str) -> None:
        raise NotSupported(f"model {plane.model(model_name).name!r} is served without explainer")


def _add_v2(app: FastAPI, plane: DataPlane) -> None:
    @app.get("/v2", tags=["V2"])
    async def server_metadata() -> dict[str, Any]:
        return {"name": "modelport", "version": app.version, "extensions": _EXTENSIONS}

    @app.get("/v2/models", tags=["V2"])
    async def list_models() -> dict[str, list[str]]:
        return {"models": list(plane.models)}

    @app.get("/v2/models/{model_name}", tags=["V2"])
    async def model_metadata(model_name: str) -> dict[str, Any]:
        runtime = plane.model(model_name).runtime
        return {
            "name": model_name,
            "platform": runtime.platform,
            "inputs": [_tensor_metadata(spec) for spec in runtime.inputs],
            "outputs": [_tensor_metadata(spec) for spec in runtime.outputs],
        }

    @app.get("/v2/models/{model_name}/ready", tags=["V2"])
    async def model_ready(model_name: str) -> dict[str, Any]:
        return {"name": plane.model(model_name).name, "ready": True}

    @app.api_route(
        "/v2/models/{model_name}/versions/{rest:path}",
        methods=["GET", "POST"],
        include_in_schema=False,
    )
    async def versions(model_name: str) -> None:
        raise NotSupported(f"model {plane.model(model_name).name!r} is served without versions")


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
    return _response(error_reply(InvalidInput(str(error))))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))
