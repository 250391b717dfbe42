"""Metadata, health, docs, and the error answers of every endpoint."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Server, Serving, Trained

PREDICT = "/v1/models/tumor:predict"
INFER = "/v2/models/tumor/infer"
ROW = [1.0] * 30
TENSOR = {"name": "input", "shape": [1, 30], "datatype": "FP32", "data": ROW}
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def server(tumor: Trained, serving: Serving) -> Iterator[Server]:
    arguments = tumor.arguments("tumor")
    with serving(*arguments, "--max_body_bytes", "20000", "--enable_docs_url") as running:
        yield running


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", {"status": "alive"}),
        ("/v1/models", {"models": ["tumor"]}),
        ("/v1/models/tumor", {"name": "tumor", "ready": True}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"live": True, "ready": True}),
        ("/v2/models", {"models": ["tumor"]}),
        ("/v2/models/tumor/ready", {"name": "tumor", "ready": True}),
        (
            "/v2/models/tumor",
            {
                "name": "tumor",
                "platform": "onnxruntime_onnx",
                "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 30]}],
                "outputs": [
                    {"name": "label", "datatype": "INT64", "shape": [-1]},
                    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
                ],
            },
        ),
    ],
)
def test_metadata(server: Server, path: str, expected: dict[str, Any]) -> None:
    answer = server.get(path)

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == expected


def test_server_metadata(server: Server) -> None:
    answer = server.get("/v2").json

    assert answer["name"] == "modelport"
    assert answer["extensions"] == ["binary_tensor_data", "model_repository"]
    assert answer["version"]


def test_docs_describe_every_endpoint(server: Server) -> None:
    assert server.get("/docs").status == 200
    document = server.get("/openapi.json").json
    assert {"/v2", "/v1/models/{model_name}:predict", "/v2/models/{model_name}/infer"} <= set(
        document["paths"]
    )
    assert "422" not in json.dumps(document["paths"])


def v2(*inputs: Any, **request: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **request}


BINARY = {**TENSOR, "parameters": {"binary_data_size": 8}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "fragment"),
    [
        ("GET", "/nowhere", b"", 404, "GET /nowhere: Not Found"),
        ("GET", "/v2/models/other", b"", 404, "no model 'other'"),
        ("GET", "/v2/models/tumor/", b"", 404, "Not Found"),
        ("GET", "/v1/models/other", b"", 404, "no model 'other'"),
        ("POST", "/v2/models/other/infer", {}, 404, "no model 'other'"),
        ("POST", "/v1/models/other:predict", {}, 404, "no model 'other'"),
        ("GET", INFER, b"", 405, "with POST"),
        ("DELETE", PREDICT, b"", 405, "with POST"),
        ("POST", "/v2", b"", 405, "Method Not Allowed"),
        ("POST", "/v2/models/tumor/versions/1/infer", {}, 404, "no version '1'"),
        ("GET", "/v2/models/tumor/versions/1", b"", 404, "no version '1'"),
        ("POST", "/v1/models/tumor:explain", {}, 501, "without explainer"),
        ("POST", PREDICT, b"x" * 20001, 413, "--max_body_bytes"),
        ("POST", INFER, b"x" * 20001, 413, "--max_body_bytes"),
        ("POST", "/v2", b"x" * 20001, 413, "--max_body_bytes"),
        ("POST", PREDICT, b"{", 400, "not valid JSON"),
        ("POST", PREDICT, b"", 400, "not valid JSON"),
        ("POST", PREDICT, b"[1]", 400, "must be a JSON object"),
        ("POST", PREDICT, {}, 400, "no 'instances'"),
        ("POST", PREDICT, {"instances": []}, 400, "at least one instance"),
        ("POST", PREDICT, {"instances": {"a": 1}}, 400, "must be a list"),
        ("POST", PREDICT, {"instances": [ROW[1:]]}, 400, "expected 30 features, 29 given"),
        ("POST", PREDICT, {"instances": [{"mean radius": 1}]}, 400, "column 'mean texture'"),
        ("POST", PREDICT, {"instances": [["a", *ROW[1:]]]}, 400, "input 'mean radius'"),
        ("POST", INFER, b"\xff", 400, "not valid JSON"),
        ("POST", INFER, {}, 400, "no 'inputs'"),
        ("POST", INFER, v2(), 400, "no 'inputs'"),
        ("POST", INFER, v2({"data": [1]}), 400, "object with a 'name'"),
        ("POST", INFER, v2({"name": "input"}), 400, "input 'input': unknown datatype None"),
        ("POST", INFER, v2({**TENSOR, "shape": [1, 29]}), 400, "29 elements, 30 given"),
        ("POST", INFER, v2({**TENSOR, "name": "x"}), 400, "unknown input 'x'"),
        ("POST", INFER, v2(TENSOR, TENSOR), 400, "input 'input' is given twice"),
        ("POST", INFER, v2({**TENSOR, "parameters": 1}), 400, "'parameters' must be an object"),
        ("POST", INFER, v2(BINARY), 400, "binary_data_size is 8, but 0 bytes are left"),
        ("POST", INFER, v2(TENSOR, id=1), 400, "'id' must be a string"),
        ("POST", INFER, v2(TENSOR, outputs=1), 400, "'outputs' must be a list"),
        ("POST", INFER, v2(TENSOR, outputs=[1]), 400, "each output must be an object"),
        ("POST", INFER, v2(TENSOR, outputs=[{"name": "x"}]), 400, "unknown output 'x'"),
        ("POST", INFER, v2(TENSOR, outputs=[{"name": "label"}] * 2), 400, "asked for twice"),
    ],
)  # fmt: skip
def test_errors(
    server: Server, method: str, path: str, body: Any, status: int, fragment: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    answer = server.request(method, path, body=content)

    assert answer.status == status
    assert list(answer.json) == ["error"]
    assert fragment in answer.json["error"]
    assert "\n" not in answer.json["error"]


@pytest.mark.parametrize(
    ("length", "fragment"),
    [
        ("x", "Inference-Header-Content-Length is 'x'"),
        ("-1", "Inference-Header-Content-Length is '-1'"),
        ("99999", "but the body has"),
        ("0", "not whole FP32 elements"),
        ("10", "not valid JSON"),
    ],
)
def test_binary_errors(server: Server, length: str, fragment: str) -> None:
    answer = server.post(INFER, json.dumps(v2(TENSOR)).encode(), **{LENGTH: length})

    assert answer.status == 400
    assert fragment in answer.json["error"]


def test_binary_data_that_no_input_names(server: Server) -> None:
    header = json.dumps(v2(TENSOR)).encode()

    answer = server.post(INFER, header + b"1234", **{LENGTH: str(len(header))})

    assert answer.status == 400
    assert "0 bytes of binary data, 4 follow" in answer.json["error"]


def test_a_chunked_body_is_bounded_too(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        connection.sendall(b"4e21\r\n" + b"x" * 20001 + b"\r\n")
        assert b"413" in connection.recv(4096)


def test_a_caller_that_goes_away_harms_nobody(server: Server) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode()
            )

    assert server.post(INFER, v2(TENSOR)).status == 200
    assert "Traceback" not in server.errors()


def test_docs_are_off_unless_asked_for(price: Trained, serving: Serving) -> None:
    with serving(*price.arguments("price")) as running:
        assert running.get("/docs").status == 404
        assert running.get("/openapi.json").status == 404


def test_a_model_that_fails_is_logged_and_answered_in_one_line(
    moody: Trained, serving: Serving
) -> None:
    with serving(*moody.arguments("m")) as running:
        answer = running.post("/v1/models/m:predict", {"instances": [{"count": 1, "index": 9}]})
        assert running.get("/v2/health/ready").status == 200
        assert running.stop() == 0
        log = running.errors()

    assert answer.status == 500
    assert answer.json["error"].startswith("model 'm' failed: ")
    assert "\n" not in answer.json["error"]
    assert "Traceback" in log
    assert answer.json["error"] in log
