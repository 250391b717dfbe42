"""The same row in every protocol: what is sent, and what a right answer is."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from benchmarks.models import Forest

NAME = "forest"
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"
JSON = {"Content-Type": "application/json"}
LENGTH = "Inference-Header-Content-Length"

Protocol = Literal["V1", "V2", "V2 binary", "gRPC", "own JSON"]
Headers = Mapping[str, str]
Check = Callable[[Headers, bytes], None]
Read = Callable[[Headers, bytes], "Answer"]


class WrongAnswer(ValueError):
    """A server answered, but not what the model says."""


@dataclass(frozen=True)
class Answer:
    """What a server said of the row. Some answer with the label alone."""

    label: int
    probabilities: list[float] | None = None

    def agrees(self, forest: Forest) -> bool:
        """Whether it is the model's answer."""
        return self.label == forest.label and (
            self.probabilities is None
            or np.allclose(self.probabilities, forest.probabilities, atol=1e-5)
        )


@dataclass(frozen=True)
class Request:
    """One HTTP request, or one gRPC call where `protocol` says so.

    `check` takes the answer's headers and body, and raises an error unless it is right.
    """

    protocol: Protocol
    path: str
    body: bytes
    check: Check
    headers: Headers = field(default_factory=lambda: JSON)


def v1(forest: Forest) -> Request:
    """Ask in KServe's V1: rows in, one object per row out."""
    body = _json({"instances": [forest.row]})
    return Request("V1", f"/v1/models/{NAME}:predict", body, _checks(forest, _read_v1))


def v2(forest: Forest, path: str = f"/v2/models/{NAME}/infer") -> Request:
    """Ask in the Open Inference Protocol's JSON, which servers with no protocol are sent too."""
    tensor = {"name": "input", "shape": [1, 30], "datatype": "FP32", "data": forest.row}
    return Request("V2", path, _json({"inputs": [tensor]}), _checks(forest, _read_v2))


def v2_binary(forest: Forest) -> Request:
    """Ask in the Open Inference Protocol with tensors as bytes, in both directions."""
    body, headers = binary_body("input", np.array([forest.row], np.float32))
    check = _checks(forest, _read_v2)
    return Request("V2 binary", f"/v2/models/{NAME}/infer", body, check, headers)


def grpc(forest: Forest) -> Request:
    """Ask over gRPC, with raw tensor contents, as tritonclient does."""
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferRequest(model_name=NAME)
    message.inputs.add(name="input", datatype="FP32", shape=[1, 30])
    message.raw_input_contents.append(np.array([forest.row], np.float32).tobytes())
    return Request("gRPC", GRPC_PATH, message.SerializeToString(), _checks(forest, _read_grpc))


def bentoml(forest: Forest) -> Request:
    """Ask in BentoML's own JSON: the method's argument by name."""
    body = _json({"rows": [forest.row]})
    return Request("own JSON", "/predict", body, _checks(forest, _read_columns))


def mlflow(forest: Forest) -> Request:
    """Ask in MLflow's scoring protocol, with a tensor."""
    body = _json({"inputs": [forest.row]})
    return Request("own JSON", "/invocations", body, _checks(forest, _read_mlflow))


def mlflow_named(forest: Forest) -> Request:
    """Ask in MLflow's scoring protocol, with a tensor by name."""
    body = _json({"inputs": {"input": [forest.row]}})
    return Request("own JSON", "/invocations", body, _checks(forest, _read_mlflow))


def echo(forest: Forest) -> Request:
    """Send the V2 request, which comes back as it is."""
    sent = v2(forest, "/").body

    def check(headers: Headers, body: bytes) -> None:
        del headers
        if body != sent:
            raise WrongAnswer("the echo is not what was sent")

    return Request("V2", "/", sent, check)


def binary_body(name: str, array: Any) -> tuple[bytes, dict[str, str]]:
    """Return the V2 body and headers of one FP32 tensor as bytes, answered as bytes."""
    raw = array.tobytes()
    tensor = {
        "name": name,
        "shape": list(array.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = _json({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    return head + raw, {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}


def framed(message: bytes) -> bytes:
    """Return the message as gRPC puts it into HTTP/2: uncompressed, with its length before it."""
    return struct.pack(">BI", 0, len(message)) + message


def v2_tensors(headers: Headers, body: bytes) -> dict[str, Any]:
    """Return the outputs of a V2 response, JSON or binary, as flat arrays by name."""
    given = {name.lower(): value for name, value in headers.items()}
    length = int(given.get(LENGTH.lower(), len(body)))
    tensors, position = {}, length
    for output in json.loads(body[:length])["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            tensors[output["name"]] = np.ravel(output["data"])
            continue
        dtype = {"INT64": np.int64, "FP32": np.float32}[output["datatype"]]
        tensors[output["name"]] = np.frombuffer(body[position : position + size], dtype)
        position += size
    return tensors


def _checks(forest: Forest, read: Read) -> Check:
    def check(headers: Headers, body: bytes) -> None:
        answer = read(headers, body)
        if not answer.agrees(forest):
            raise WrongAnswer(f"the answer is {answer}, the model says {forest.probabilities}")

    return check


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _answer(outputs: Mapping[str, Any]) -> Answer:
    label = int(np.ravel(outputs["label"])[0])
    return Answer(label, [float(value) for value in np.ravel(outputs["probabilities"])])


def _read_v1(headers: Headers, body: bytes) -> Answer:
    del headers
    return _answer(json.loads(body)["predictions"][0])


def _read_v2(headers: Headers, body: bytes) -> Answer:
    return _answer(v2_tensors(headers, body))


def _read_columns(headers: Headers, body: bytes) -> Answer:
    del headers
    return _answer(json.loads(body))


def _read_mlflow(headers: Headers, body: bytes) -> Answer:
    del headers
    predictions = json.loads(body)["predictions"]
    if isinstance(predictions, dict):
        return _answer(predictions)
    return Answer(int(predictions[0]))


def _read_grpc(headers: Headers, body: bytes) -> Answer:
    del headers
    from tritonclient.grpc import service_pb2

    response = service_pb2.ModelInferResponse.FromString(body)
    return _answer({one.name: _contents(response, at) for at, one in enumerate(response.outputs)})


def _contents(response: Any, at: int) -> Any:
    """Return an output's values, raw or typed: servers choose."""
    output = response.outputs[at]
    if response.raw_output_contents:
        dtype = {"INT64": np.int64, "FP32": np.float32}[output.datatype]
        return np.frombuffer(response.raw_output_contents[at], dtype)
    return output.contents.int64_contents or output.contents.fp32_contents
