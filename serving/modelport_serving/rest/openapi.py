"""What `/docs` says about the endpoints that are answered before FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelport_serving.model import Model
    from modelport_serving.repository import Repository
    from modelport_serving.tensors import TensorSpec

_ERRORS = {
    "400": "The request does not fit the protocol or the model",
    "401": "No valid bearer token, where the server wants one",
    "404": "No such model",
    "413": "The body is larger than --max_body_bytes",
    "500": "The model failed",
    "501": "The server does not have this part of the protocol",
    "502": "The predictor behind a transformer or explainer failed",
    "503": "The model is not loaded yet, or too many requests wait",
    "504": "The answer did not come in time",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "description": "BOOL, INT8 to UINT64, FP16 to FP64, BYTES"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": {"type": ["object", "null"]},
        "data": {"type": "array", "description": "row-major, flat or nested", "items": {}},
    },
}
_PREDICT_BODY = {
    "type": "object",
    "required": ["instances"],
    "properties": {
        "instances": {
            "type": "array",
            "items": {},
            "description": "one per row: a list of values, or an object by column name",
        }
    },
}
_INFER_BODY = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": ["array", "null"], "items": {"type": "object"}},
    },
}
_NOTHING = {"FP": 0.0, "IN": 0, "UI": 0, "BO": False, "BY": ""}
"""A value of each datatype, by its first two letters."""


def complete(document: dict[str, Any], repository: Repository) -> dict[str, Any]:
    """Add the endpoints that FastAPI does not know, and take out the 422 it never sends.

    The examples are requests that the models here answer.
    """
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= _failures(_codes(path, has_body="requestBody" in operation))
    models = [entry.name for entry in repository.index() if entry.state == "READY"]
    ready = [repository.get(name) for name in dict.fromkeys(models)]
    v1 = _body(_PREDICT_BODY, {model.name: _instances(model) for model in ready})
    v2 = _body(_INFER_BODY, {model.name: _tensors(model) for model in ready})
    name = _parameter("model_name", [model.name for model in ready])
    version = _parameter("version", [])
    document["paths"] |= {
        "/v1/models/{model_name}:predict": _post("V1", "Predict rows", [name], v1),
        "/v2/models/{model_name}/infer": _post("V2", "Infer tensors", [name], v2),
        "/v2/models/{model_name}/versions/{version}/infer": _post(
            "V2", "Infer tensors with one version", [name, version], v2
        ),
        "/v2/health/live": _get("V2", "Whether the server runs"),
        "/v2/health/ready": _get("V2", "Whether every model is loaded (503 until then)"),
        "/metrics": _get("server", "Prometheus metrics"),
    }
    return document


def _codes(path: str, *, has_body: bool) -> list[str]:
    """Return the errors that an endpoint on FastAPI may answer."""
    of_body = ["400"] if has_body else []
    of_model = ["404", "500", "502", "503", "504"] if "{model_name}" in path else []
    return ["401", *of_body, *of_model]


def _failures(codes: Iterable[str]) -> dict[str, Any]:
    error = {"application/json": {"schema": _ERROR}}
    return {code: {"description": _ERRORS[code], "content": error} for code in codes}


def _parameter(name: str, values: Sequence[str]) -> dict[str, Any]:
    parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    return {**parameter, "example": values[0]} if values else parameter


def _body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    named = {name: {"value": example} for name, example in examples.items()}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "examples": named}},
    }


def _post(
    tag: str, summary: str, parameters: list[dict[str, Any]], body: dict[str, Any]
) -> dict[str, Any]:
    answer = {"description": "The answer", "content": {"application/json": {}}}
    return {
        "post": {
            "tags": [tag],
            "summary": summary,
            "parameters": parameters,
            "requestBody": body,
            "responses": {"200": answer, **_failures(_ERRORS)},
        }
    }


def _get(tag: str, summary: str) -> dict[str, Any]:
    answers = {"200": {"description": "The answer"}, **_failures(["401", "503"])}
    return {"get": {"tags": [tag], "summary": summary, "responses": answers}}


def _instances(model: Model) -> dict[str, Any]:
    columns = [column for column in model.served.inputs if column.name and column.shape is None]
    if columns:
        row: Any = {column.name: _value(column.type) for column in columns}
    elif len(model.runtime.inputs) == 1:
        row = _nested(model.runtime.inputs[0], 1)
    else:
        row = {spec.name: _nested(spec, 1) for spec in model.runtime.inputs}
    return {"instances": [row]}


def _value(column_type: str) -> Any:
    return {"string": "", "boolean": False, "long": 0, "integer": 0}.get(column_type, 0.0)


def _tensors(model: Model) -> dict[str, Any]:
    return {"inputs": [_example(spec) for spec in model.runtime.inputs]}


def _example(spec: TensorSpec) -> dict[str, Any]:
    shape = [1 if size == -1 else size for size in spec.shape]
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": shape,
        "data": _nested(spec, 0),
    }


def _nested(spec: TensorSpec, axis: int) -> Any:
    """Return a tensor of nothings from this axis on, as nested lists."""
    if axis >= len(spec.shape):
        return _NOTHING[spec.datatype[:2]]
    return [_nested(spec, axis + 1)] * (1 if spec.shape[axis] == -1 else spec.shape[axis])
