"""NVIDIA's and KServe's clients, unmodified, on services of the engine through its gateway."""

from __future__ import annotations

import json
import shutil
import socket
import socketserver
import subprocess
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.engine.conftest import new_home
from tests.engine.kserve_examples import SDK, needs_sdk, times
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from modelport_engine.paths import reachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.conftest import Home

HERE = Path(__file__).parent
NO_SERVICE = "no such service"
ROWS = [[1.0, 2.0, 3.0, 4.0]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """An engine with `echo`, half of whose traffic is a canary's, and a transformer before one."""
    folder = tmp_path_factory.mktemp("clients")
    with new_home(folder) as home, pytest.MonkeyPatch.context() as patch:
        patch.delenv("MODELPORT_ENGINE_RUNTIME")
        home.start()
        home.deploy(home.service(model(folder, 2), "echo"))
        home.client.apply(with_transformer(home.service(model(folder, 2), "lengths")))
        half = home.service(model(folder, 3), "echo", canaryTrafficPercent=50)
        home.deploy(half)
        home.client.wait_ready("lengths")
        yield home


def model(folder: Path, factor: int) -> Path:
    folder = folder / f"times-{factor}"
    folder.mkdir(exist_ok=True)
    onnx.save(times(factor), folder / "model.onnx")
    return folder


def with_transformer(document: dict[str, Any]) -> dict[str, Any]:
    """Put a transformer for modelport's runtime in front, which names the model otherwise."""
    container = {
        "name": "kserve-container",
        "image": "registry.example/modelport-serving:1",
        "args": [
            "--transformer=own_transformer:Metres",
            "--model_name=sizes",
            "--predictor_protocol=v2",
        ],
        "env": [{"name": "PYTHONPATH", "value": str(HERE)}],
    }
    document["spec"]["transformer"] = {"containers": [container]}
    return document


def inputs(client: Any, *, binary: bool = True) -> list[Any]:
    options = {} if client is grpc else {"binary_data": binary}
    rows = client.InferInput("x", [1, 4], "FP32")
    rows.set_data_from_numpy(np.array(ROWS, np.float32), **options)
    text = client.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["né".encode()], object), **options)
    return [rows, text]


def factor(answer: Any) -> float:
    """Tell by what the rows were multiplied; the text must have come back."""
    assert answer.as_numpy("told").tolist() in (["né".encode()], ["né"])  # JSON has texts
    (factor,) = set((answer.as_numpy("y") / ROWS).flat)
    return float(factor)


def by_grpc(home: Home, name: str) -> Any:
    authority = [("grpc.default_authority", f"{name}.default.local")]
    return grpc.InferenceServerClient(f"127.0.0.1:{home.port}", channel_args=authority)


def by_path(home: Home, name: str) -> Any:
    return http.InferenceServerClient(f"127.0.0.1:{home.port}/serving/default/{name}")


@pytest.mark.parametrize("connect", [by_grpc, by_path])
def test_tritons_clients_learn_what_there_is(home: Home, connect: Any) -> None:
    options = {"as_json": True} if connect is by_grpc else {}
    with connect(home, "echo") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("echo")
        metadata = client.get_model_metadata("echo", **options)
        assert client.get_server_metadata(**options)["name"] == "modelport"
    tensors = {one["name"]: one["datatype"] for one in metadata["inputs"]}
    assert tensors == {"x": "FP32", "text": "BYTES"}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tritons_http_client_infers(home: Home, binary_in: bool, binary_out: bool) -> None:
    outputs = [http.InferRequestedOutput(name, binary_data=binary_out) for name in ("y", "told")]
    with by_path(home, "echo") as client:
        given = inputs(http, binary=binary_in)
        answer = client.infer("echo", given, outputs=outputs, request_id="7")
    assert factor(answer) in (2, 3)
    assert answer.get_response()["id"] == "7"


def test_grpc_callers_are_split_as_others_are(home: Home) -> None:
    url = home.client.get("echo")["status"]["url"]
    rows = json.dumps({"instances": [{"x": ROWS[0], "text": "a"}]}).encode()
    with by_grpc(home, "echo") as client:
        split = Counter(factor(client.infer("echo", inputs(grpc))) for _ in range(60))
    rest = (home.request(url, "/v1/models/echo:predict", rows)[1] for _ in range(60))
    assert set(split) == {2, 3}
    assert {answer["predictions"][0]["y"][0] for answer in rest} == {2, 3}


def test_a_session_is_kept_for_grpc_callers(home: Home) -> None:
    with by_grpc(home, "echo") as client:
        for session in map(str, range(8)):
            headers = {"modelport-session": session}
            answers = [client.infer("echo", inputs(grpc), headers=headers) for _ in range(8)]
            assert len(set(map(factor, answers))) == 1


@pytest.mark.parametrize(("client", "connect"), [(grpc, by_grpc), (http, by_path)])
def test_a_transformer_is_asked_by_any_protocol(home: Home, client: Any, connect: Any) -> None:
    with connect(home, "lengths") as connected:
        assert connected.is_model_ready("sizes")
        answer = connected.infer("sizes", inputs(client))
    assert factor(answer) == pytest.approx(0.02)


@pytest.mark.parametrize(("client", "connect"), [(grpc, by_grpc), (http, by_path)])
def test_what_does_not_exist_is_told_in_plain_words(home: Home, client: Any, connect: Any) -> None:
    with connect(home, "other") as other, pytest.raises(InferenceServerException, match=NO_SERVICE):
        other.infer("other", inputs(client))
    with connect(home, "echo") as connected:
        with pytest.raises(InferenceServerException, match="no model 'other'"):
            connected.infer("other", inputs(client))
        (rows, _) = inputs(client)
        with pytest.raises(InferenceServerException, match="text"):
            connected.infer("echo", [rows])


@needs_sdk
def test_kserves_clients(home: Home) -> None:
    """In a process of their own: KServe's protobuf messages clash with Triton's."""
    url = home.client.get("echo")["status"]["url"]
    with over_tcp(home.client.paths.socket) as api:
        arguments = [api, f"127.0.0.1:{home.port}", url]
        done = subprocess.run(
            [str(SDK), str(HERE / "kserve_program.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["status"] == {"ready": True, "url": url, "listed": ["echo", "lengths"]}

    rest, over_grpc = got["REST"], got["gRPC"]
    assert [rest[name] for name in ("live", "ready", "model ready")] == [True, True, [True, True]]
    assert rest["V1"] == "né"
    assert rest["V2"] in (["né", 2], ["né", 3])
    assert rest["V2 binary"] in (["né", 2], ["né", 3])
    assert (rest["unknown model"][0], "no model 'other'" in rest["unknown model"][1]) == (404, True)
    assert (rest["unknown service"][0], NO_SERVICE in rest["unknown service"][1]) == (404, True)

    ready = [over_grpc[name] for name in ("live", "ready", "model ready")]
    assert ready == [True, True, True]
    assert over_grpc["typed"] == "né"
    assert set(over_grpc["split"]) == {"['né', 2.0]", "['né', 3.0]"}
    assert over_grpc["unknown model"][0] == "NOT_FOUND"
    assert over_grpc["unknown service"][0] == "UNIMPLEMENTED"
    assert NO_SERVICE in over_grpc["unknown service"][1]


@contextmanager
def over_tcp(unix: Path) -> Iterator[str]:
    """Let clients that speak no Unix sockets ask the engine's API; give its URL."""

    class Bridge(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine, reachable(unix) as path:
                engine.connect(path)
                back = threading.Thread(target=copy, args=(engine, self.request))
                back.start()
                copy(self.request, engine)
                back.join()

    def copy(source: socket.socket, target: socket.socket) -> None:
        while some := source.recv(65_536):
            target.sendall(some)
        target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Bridge) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_is_told_where_services_are(home: Home) -> None:
    for path, host in (("/v2/models/echo", "nobody.default.local"), ("/serving/default/no", "")):
        url = f"http://127.0.0.1:{home.port}{path}"
        command = ["curl", "-sS", "-w", "%{http_code}", "-H", f"Host: {host or 'localhost'}", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        body, code = done.stdout[:-3], done.stdout[-3:]
        assert (code, NO_SERVICE in json.loads(body)["error"]) == ("404", True)
