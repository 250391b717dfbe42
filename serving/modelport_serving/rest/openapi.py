"""What `/docs` says about the endpoints that are answered before FastAPI."""

from __future__ import annotations

from typing import Any

_NAME = {"name": "model_name", "in": "path", "required": True, "schema": {"type": "string"}}
_ERRORS = {
    "400": "The request does not fit the protocol or the model",
    "404": "No such model",
    "413": "The body is larger than --max_body_bytes",
    "500": "The model failed",
    "503": "The model is not loaded yet",
}
_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "description": "BOOL, INT8 to UINT64, FP16 to FP64, BYTES"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": {"type": "object"},
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
    "example": {"instances": [[5.1, 3.5, 1.4, 0.2]]},
}
_INFER_BODY = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
    "example": {
        "inputs": [
            {"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}
        ]
    },
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add the endpoints that FastAPI does not know, and take out the 422 it never sends."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    document["paths"] |= {
        "/v1/models/{model_name}:predict": _prediction("V1", "Predict rows", _PREDICT_BODY),
        "/v2/models/{model_name}/infer": _prediction("V2", "Infer tensors", _INFER_BODY),
        "/v2/health/live": _health("Whether the server runs"),
        "/v2/health/ready": _health("Whether every model is loaded (503 until then)"),
    }
    return document


def _prediction(tag: str, summary: str, body: dict[str, Any]) -> dict[str, Any]:
    responses = {"200": {"description": "The predictions", "content": {"application/json": {}}}}
    responses |= {code: {"description": text} for code, text in _ERRORS.items()}
    content = {"application/json": {"schema": body}}
    return {
        "post": {
            "tags": [tag],
            "summary": summary,
            "parameters": [_NAME],
            "requestBody": {"required": True, "content": content},
            "responses": responses,
        }
    }


def _health(summary: str) -> dict[str, Any]:
    return {"get": {"tags": ["V2"], "summary": summary, "responses": {"200": {"description": ""}}}}
