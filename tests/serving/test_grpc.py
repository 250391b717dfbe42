"""NVIDIA's gRPC client, unmodified, against a real server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.grpc import service_pb2 as messages
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from conftest import Server, Serving, Trained

_SERVICE = "/inference.GRPCInferenceService/"
_MIB = 1024 * 1024
_TYPES = {
    "BOOL": ("BOOL", np.bool_),
    "UINT8": ("UINT8", np.uint8),
    "INT8": ("INT8", np.int8),
    "INT32": ("INT32", np.int32),
    "INT64": ("INT64", np.int64),
    "FP16": ("FLOAT16", np.float16),
    "FP32": ("FLOAT", np.float32),
    "FP64": ("DOUBLE", np.float64),
    "BYTES": ("STRING", np.object_),
}


def save_mirror(folder: Path, datatype: str, times: int = 1) -> None:
    """Save a model that answers `y`: its input `x`, of any width, that many times side by side."""
    import mlflow
    from onnx import TensorProto, helper

    kind = getattr(TensorProto, _TYPES[datatype][0])
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x"] * times, ["y"], axis=1)],
        "mirror",
        [helper.make_tensor_value_info("x", kind, [None, None])],
        [helper.make_tensor_value_info("y", kind, [None, None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    mlflow.onnx.save_model(model, folder, pip_requirements=[])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror for each datatype; `fp32` in the versions 1 and 2, of which 2 doubles."""
    root = tmp_path_factory.mktemp("repository")
    for datatype in _TYPES:
        if datatype != "FP32":
            save_mirror(root / datatype.lower(), datatype)
    save_mirror(root / "fp32" / "1", "FP32")
    save_mirror(root / "fp32" / "2", "FP32", times=2)
    return root


@pytest.fixture(scope="module")
def server(repository: Path, serving: Serving) -> Iterator[Server]:
    with serving(
        "--model_dir",
        str(repository),
        "--model_version_policy",
        "all",
        "--grpc_max_receive_message_length",
        str(128 * _MIB),
        "--grpc_max_send_message_length",
        str(128 * _MIB),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(server.grpc_address) as client:
        yield client


@pytest.fixture(scope="module")
def moody_server(moody: Trained, serving: Serving) -> Iterator[Server]:
    with serving(*moody.arguments("moody"), "--max_threads", "1", "--workers", "1") as server:
        yield server


def given(array: Any, datatype: str = "FP32", name: str = "x") -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def counting(trips: int) -> list[Any]:
    return [
        given(np.array([trips]), "INT64", "count"),
        given(np.array([0]), "INT64", "index"),
    ]


_LONG = 300_000
"""Trips of the moody model that take about a second."""


def refused(call: Callable[[], object]) -> tuple[str, str]:
    """Return the code and the message that a call fails with."""
    with pytest.raises(InferenceServerException) as failure:
        call()
    return failure.value.status().removeprefix("StatusCode."), failure.value.message()


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("fp32")
    assert client.is_model_ready("fp32", "1")
    assert client.get_server_metadata().name == "modelport"
    metadata = client.get_model_metadata("fp32")
    assert list(metadata.versions) == ["1", "2"]
    assert metadata.platform == "onnxruntime_onnx"
    (tensor,) = metadata.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "FP32", [-1, -1])
    assert [output.name for output in metadata.outputs] == ["y"]


def test_tables(tumor: Trained, serving: Serving) -> None:
    rows = tumor.rows.head(5).to_numpy()
    asked = given(rows.astype(np.float32), name="input")
    with (
        serving(*tumor.arguments("tumor")) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        for wanted in ([], ["probabilities", "label"], ["label"]):
            outputs = [triton.InferRequestedOutput(name) for name in wanted]
            result = client.infer("tumor", [asked], outputs=outputs, request_id="7")
            response = result.get_response()
            names = [output.name for output in response.outputs]
            assert names == (wanted or ["label", "probabilities"])
            assert (response.id, response.model_name, response.model_version) == ("7", "tumor", "")
            np.testing.assert_array_equal(result.as_numpy("label"), tumor.model.predict(rows))
            if "probabilities" in names:
                expected = tumor.model.predict_proba(rows)
                np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (1, 0)])
@pytest.mark.parametrize("datatype", _TYPES)
def test_every_datatype_and_empty_batches(client: Any, datatype: str, shape: Any) -> None:
    numbers = np.arange(np.prod(shape)).reshape(shape)
    if datatype == "BYTES":
        array = np.array([f"né {n}".encode() for n in numbers.flat], object).reshape(shape)
    else:
        array = numbers.astype(_TYPES[datatype][1])

    result = client.infer(datatype.lower(), [given(array, datatype)], model_version="")

    answer = result.as_numpy("y")
    expected = np.concatenate([array, array], axis=1) if datatype == "FP32" else array
    assert answer.dtype == expected.dtype
    np.testing.assert_array_equal(answer, expected)


def test_versions(client: Any) -> None:
    one = np.ones((1, 1), np.float32)
    widths = {}
    for version in ("", "1", "2"):
        result = client.infer("fp32", [given(one)], model_version=version)
        widths[version] = result.as_numpy("y").shape[1]
        assert result.get_response().model_version == (version or "2")
    assert widths == {"": 2, "1": 1, "2": 2}


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_100_megabytes_both_ways(client: Any, compression: str | None) -> None:
    megabytes = 100 if compression is None else 10
    array = np.arange(megabytes * _MIB // 4, dtype=np.float32).reshape(1, -1)
    array %= 1000
    result = client.infer(
        "fp32", [given(array)], model_version="1", compression_algorithm=compression
    )
    np.testing.assert_array_equal(result.as_numpy("y"), array)


def test_errors_have_codes_and_say_what_to_do(client: Any) -> None:
    array = np.ones((1, 2), np.float32)
    code, words = refused(lambda: client.infer("other", [given(array)]))
    assert (code, "no model 'other'" in words) == ("NOT_FOUND", True)
    code, words = refused(lambda: client.infer("fp32", [given(array)], model_version="9"))
    assert (code, "no version '9'" in words) == ("NOT_FOUND", True)
    code, _ = refused(lambda: client.is_model_ready("other"))
    assert code == "NOT_FOUND"
    code, words = refused(lambda: client.infer("fp32", [given(array, name="z")]))
    assert (code, "unknown input 'z'" in words) == ("INVALID_ARGUMENT", True)
    code, words = refused(lambda: client.infer("fp32", [given(array[0])]))
    assert (code, "expected shape [-1, -1], [2] given" in words) == ("INVALID_ARGUMENT", True)
    wanted = [triton.InferRequestedOutput("z")]
    code, words = refused(lambda: client.infer("fp32", [given(array)], outputs=wanted))
    assert (code, "unknown output 'z'" in words) == ("INVALID_ARGUMENT", True)
    code, _ = refused(client.get_inference_statistics)
    assert code == "UNIMPLEMENTED"
    too_large = np.ones((1, 33 * _MIB), np.float32)
    code, words = refused(lambda: client.infer("fp32", [given(too_large)], model_version="1"))
    assert (code, "--grpc_max_receive_message_length" in words) == ("RESOURCE_EXHAUSTED", True)
    doubled = np.ones((1, 20 * _MIB), np.float32)
    code, words = refused(lambda: client.infer("fp32", [given(doubled)], model_version="2"))
    assert (code, "--grpc_max_send_message_length" in words) == ("RESOURCE_EXHAUSTED", True)


def test_a_failing_model_is_an_internal_error_without_traceback(moody_server: Server) -> None:
    inputs = [given(np.array([1]), "INT64", "count"), given(np.array([9]), "INT64", "index")]
    with triton.InferenceServerClient(moody_server.grpc_address) as client:
        code, words = refused(lambda: client.infer("moody", inputs))
    assert code == "INTERNAL"
    assert words.startswith("model 'moody' failed")
    assert "Traceback" not in words


def test_deadlines(moody_server: Server) -> None:
    with triton.InferenceServerClient(moody_server.grpc_address) as client:
        for limit in ({"client_timeout": 0.05}, {"timeout": 50_000}):
            code, words = refused(
                lambda limit=limit: client.infer("moody", counting(_LONG), **limit)
            )
            assert code == "DEADLINE_EXCEEDED", words
        assert client.infer("moody", counting(3)).as_numpy("done") == [3]


def test_cancelled_calls_are_not_computed(moody_server: Server) -> None:
    with triton.InferenceServerClient(moody_server.grpc_address) as client:
        calls = [client.async_infer("moody", counting(_LONG), lambda **_: None) for _ in range(500)]
        for call in calls:
            call.cancel()
        # Five hundred of them would take minutes.
        answer = client.infer("moody", counting(3), client_timeout=30)
        assert answer.as_numpy("done") == [3]


def channel_call(address: str, method: str, request: bytes, **options: Any) -> bytes:
    with grpc.insecure_channel(address) as channel:
        answer: bytes = channel.unary_unary(_SERVICE + method)(request, timeout=20, **options)
        return answer


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("UINT8", "uint_contents", [0, 255]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("FP32", "fp32_contents", [1.5, float("-inf")]),
        ("FP64", "fp64_contents", [1e300, -1.0]),
        ("BYTES", "bytes_contents", [b"", "né".encode()]),
    ],
)
def test_typed_contents_are_answered_so(
    server: Server, datatype: str, field: str, values: list[Any]
) -> None:
    tensor = {"name": "x", "datatype": datatype, "shape": [1, 2], "contents": {field: values}}
    request = messages.ModelInferRequest(
        model_name=datatype.lower(),
        model_version="1" if datatype == "FP32" else "",
        id="a",
        inputs=[tensor],
    )

    data = channel_call(server.grpc_address, "ModelInfer", request.SerializeToString())

    response = messages.ModelInferResponse.FromString(data)
    (output,) = response.outputs
    assert not response.raw_output_contents
    assert list(getattr(output.contents, field)) == values
    assert (response.id, output.datatype, list(output.shape)) == ("a", datatype, [1, 2])


@pytest.mark.parametrize(
    ("method", "request_bytes", "code"),
    [
        ("ModelInfer", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelMetadata", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelStreamInfer", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_what_is_no_request_is_refused(
    server: Server, method: str, request_bytes: bytes, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        channel_call(server.grpc_address, method, request_bytes)
    assert failure.value.code() is code


def test_the_repository_is_managed_by_either_clients_fields(
    tmp_path: Path, repository: Path, serving: Serving
) -> None:
    shutil.copytree(repository / "fp64", tmp_path / "models" / "fp64")
    with (
        serving("--model_dir", str(tmp_path / "models")) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):

        def states() -> dict[str, str]:
            return {m.name: m.state for m in client.get_model_repository_index().models}

        assert states() == {"fp64": "READY"}
        client.unload_model("fp64")
        assert states()["fp64"] != "READY"
        assert refused(lambda: client.is_model_ready("fp64"))[0] == "NOT_FOUND"
        shutil.copytree(repository / "int8", tmp_path / "models" / "int8")
        client.load_model("int8")
        assert client.is_model_ready("int8")
        # KServe's request has the name in field 1, and its answer says what was done.
        answer = channel_call(server.grpc_address, "RepositoryModelLoad", b"\x0a\x04fp64")
        assert answer == b"\x0a\x04fp64\x10\x01"
        assert states() == {"fp64": "READY", "int8": "READY"}
        assert refused(lambda: client.load_model("other"))[0] == "NOT_FOUND"


def test_many_at_once_get_their_own_answers(client: Any) -> None:
    answers: dict[int, Any] = {}
    done = threading.Semaphore(0)

    def keep(number: int, result: Any, error: Any) -> None:
        answers[number] = error or result.as_numpy("y").tolist()
        done.release()

    for number in range(300):
        array = np.full((1 + number % 3, 2), number, np.float64)
        client.async_infer(
            "fp64", [given(array, "FP64")], lambda result, error, n=number: keep(n, result, error)
        )
    for _ in range(300):
        assert done.acquire(timeout=20)
    assert answers == {n: [[n, n]] * (1 + n % 3) for n in range(300)}


def test_a_token_is_asked_for(tmp_path: Path, moody: Trained, serving: Serving) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with (
        serving(*moody.arguments("moody"), "--auth_token_file", str(token)) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        assert client.is_server_ready()  # a kubelet has no token
        for headers in (None, {"authorization": "Bearer wrong"}):
            code, words = refused(lambda h=headers: client.infer("moody", counting(3), headers=h))
            assert (code, "bearer token" in words) == ("UNAUTHENTICATED", True)
        right = {"authorization": "Bearer secret"}
        assert client.infer("moody", counting(3), headers=right).as_numpy("done") == [3]


def test_tls(tmp_path: Path, moody: Trained, serving: Serving) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    name = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    new_key = ("-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost")
    files = ("-keyout", str(key), "-out", str(certificate))
    command = ("openssl", "req", "-x509", *new_key, "-addext", name, *files)
    subprocess.run(command, check=True, capture_output=True)
    tls = ("--tls_cert_file", str(certificate), "--tls_key_file", str(key))
    with (
        serving(*moody.arguments("moody"), *tls, scheme="https") as server,
        triton.InferenceServerClient(
            server.grpc_address, ssl=True, root_certificates=str(certificate)
        ) as client,
    ):
        assert client.infer("moody", counting(3)).as_numpy("done") == [3]


def test_a_server_that_ends_answers_what_it_has_begun(
    moody: Trained, serving: Serving, wait_until: Callable[..., None]
) -> None:
    with (
        serving(*moody.arguments("moody")) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        outcome: list[Any] = []
        client.async_infer(
            "moody", counting(_LONG), lambda result, error: outcome.append(error or result)
        )
        # The next one is answered after it has been taken: its connection is the same.
        assert client.is_server_ready()
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(timeout=40) == 0
        wait_until(lambda: outcome, "the answer came")
        assert outcome[0].as_numpy("done") == [_LONG]


def test_a_taken_port_is_told(moody: Trained, serving: Serving, launch: type[Server]) -> None:
    with serving(*moody.arguments("moody")) as server:
        second = launch(*moody.arguments("moody"), "--grpc_port", str(server.grpc_port))
        try:
            assert second.process.wait(timeout=30) == 1
            assert f":{server.grpc_port}" in second.errors()
            assert "--grpc_port" in second.errors()
        finally:
            second.kill()


def test_kserves_client(server: Server, kserve_python: Path) -> None:
    """In a process of its own: its protobuf messages clash with Triton's."""
    program = Path(__file__).with_name("kserve_grpc_program.py")
    run = subprocess.run(
        [str(kserve_python), str(program), server.grpc_address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "live": True,
        "ready": True,
        "model ready": True,
        "unknown model": "NOT_FOUND",
        "typed FP32": [[1.5, 2.5]],
        "raw FP32": [[1.5, 2.5]],
        "raw FP16": [[1.5, 2.5]],
        "typed BYTES": [["né", ""]],
        "raw BYTES": [["né", ""]],
        "empty": [0, 3],
        "version": "1",
        "id": "seven",
        "wrong shape": "INVALID_ARGUMENT",
        "100 MB": True,
    }
