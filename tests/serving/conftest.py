"""Real models, and real server processes to serve them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

START_SECONDS = 30.0
ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Poll a real condition, bounded."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A server process and a client for it."""

    def __init__(
        self,
        *arguments: str,
        port: int | None = None,
        host: str = "127.0.0.1",
        scheme: str = "http",
    ) -> None:
        self.port = port or free_port()
        self.grpc_port = free_port()
        self.scheme = scheme
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.grpc_address = f"{host}:{self.grpc_port}"
        self.pool = urllib3.PoolManager(retries=False, cert_reqs="CERT_NONE")
        # A file: a pipe that nobody reads would stop a server that logs much.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by kill
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "modelport_serving",
                "--http_port",
                str(self.port),
                "--grpc_port",
                str(self.grpc_port),
                *arguments,
            ],
            stderr=self._log,
        )

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.errors()
        try:
            return self.get("/v2/health/ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, content: Any, **headers: str) -> Answer:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.request("POST", path, body=body, headers=headers)

    def request(self, method: str, path: str, **options: Any) -> Answer:
        url = f"{self.scheme}://{self.address}{path}"
        reply = self.pool.request(method, url, timeout=20, **options)
        return Answer(reply.status, reply.headers, reply.data)

    def errors(self) -> str:
        """What the process wrote to stderr so far."""
        self._log.seek(0)
        return self._log.read()

    def stop(self) -> int:
        """Ask the process to end, and return its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=40)

    def kill(self) -> None:
        self.pool.clear()
        self.process.kill()
        self.process.wait()
        print(self.errors())  # noqa: T201 - pytest shows it where a test fails
        self._log.close()


Serving = Callable[..., AbstractContextManager[Server]]


@contextmanager
def serving(*arguments: str, host: str = "127.0.0.1", scheme: str = "http") -> Iterator[Server]:
    server = Server(*arguments, host=host, scheme=scheme)
    try:
        wait_until(server.is_ready, "the server is ready")
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session", name="serving")
def serving_fixture() -> Serving:
    """Start a server, wait until it is ready, and kill it at the end of the block."""
    return serving


@pytest.fixture(scope="session")
def launch() -> type[Server]:
    """Start a server without waiting for it."""
    return Server


@pytest.fixture(scope="session", name="wait_until")
def wait_until_fixture() -> Callable[[Callable[[], bool], str], None]:
    return wait_until


@pytest.fixture(scope="session")
def kserve_python() -> Path:
    """The interpreter of the environment that KServe's client is installed in."""
    python = Path(os.environ.get("KSERVE_PYTHON") or ROOT / ".venv-kserve/bin/python")
    if not python.exists():
        pytest.skip("KServe's client needs an environment of its own: make test makes it")
    return python


@dataclass(frozen=True)
class Trained:
    """A served model folder, the model that it came from, and rows to ask about."""

    folder: Path
    model: Any
    rows: Any

    def arguments(self, name: str) -> tuple[str, ...]:
        return ("--model_name", name, "--model_dir", str(self.folder))


def _save_onnx(model: Any, rows: Any, folder: Path, types: list[Any], outputs: Any) -> Trained:
    import mlflow
    from skl2onnx import to_onnx

    options = {"zipmap": False} if hasattr(model, "predict_proba") else None
    graph = to_onnx(model, initial_types=types, options=options)
    mlflow.onnx.save_model(
        graph,
        folder,
        signature=mlflow.models.infer_signature(rows, outputs),
        pip_requirements=[],
        onnx_session_options={"intra_op_num_threads": 1, "execution_mode": "sequential"},
    )
    return Trained(folder, model, rows)


@pytest.fixture(scope="session")
def tumor(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A classifier with two outputs; one table input of 30 columns."""
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    # What the model sees in ONNX are 32-bit floats: train on the same.
    rows = rows.astype("float32").astype("float64")
    model = RandomForestClassifier(20, random_state=0).fit(rows.to_numpy(), labels)
    types = [("input", FloatTensorType([None, 30]))]
    folder = tmp_path_factory.mktemp("models") / "tumor"
    return _save_onnx(model, rows, folder, types, labels.to_numpy())


@pytest.fixture(scope="session")
def price(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A regressor with one output of shape [N, 1]."""
    import pandas as pd
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"area": [50.0, 80.0, 120.0, 65.0], "rooms": [2, 3, 5, 2]})
    model = LinearRegression().fit(rows.to_numpy(), [100.0, 160.0, 250.0, 128.0])
    types = [("features", FloatTensorType([None, 2]))]
    folder = tmp_path_factory.mktemp("models") / "price"
    return _save_onnx(model, rows, folder, types, model.predict(rows.to_numpy()))


@pytest.fixture(scope="session")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A classifier with string labels, and one ONNX input per column: texts and numbers."""
    import pandas as pd
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows = pd.DataFrame(
        {"colour": ["red", "blue", "red", "blue"] * 5, "size": [1.0, 4.0, 1.5, 5.0] * 5}
    )
    labels = ["rose", "iris", "rose", "iris"] * 5
    columns = make_column_transformer(
        (OneHotEncoder(), ["colour"]), ("passthrough", ["size"]), sparse_threshold=0
    )
    model = make_pipeline(columns, LogisticRegression()).fit(rows, labels)
    types = [("colour", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
    folder = tmp_path_factory.mktemp("models") / "flower"
    return _save_onnx(model, rows, folder, types, model.predict(rows))


@pytest.fixture(scope="session")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A scikit-learn model in its own flavour, which is a pickle."""
    import mlflow
    import pandas as pd
    from sklearn.tree import DecisionTreeClassifier

    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "n": [1, 2, 3, 4]})
    model = DecisionTreeClassifier().fit(rows, ["low", "low", "high", "high"])
    folder = tmp_path_factory.mktemp("models") / "pickled"
    mlflow.sklearn.save_model(
        model,
        folder,
        serialization_format="cloudpickle",
        signature=mlflow.models.infer_signature(rows, model.predict(rows)),
        pip_requirements=[],
    )
    return Trained(folder, model, rows)


@pytest.fixture(scope="session")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An ONNX model that counts to its first input, and fails unless its second is 0."""
    import mlflow
    import onnx
    from onnx import TensorProto, helper

    count = helper.make_tensor_value_info("count", TensorProto.INT64, [1])
    index = helper.make_tensor_value_info("index", TensorProto.INT64, [1])
    done = helper.make_tensor_value_info("done", TensorProto.INT64, [1])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("Add", ["before", "one"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.INT64, [1]),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Squeeze", ["count"], ["trips"]),
            helper.make_node("Loop", ["trips", "", "zero"], ["counted"], body=body),
            helper.make_node("Gather", ["counted", "index"], ["done"]),
        ],
        "moody",
        [count, index],
        [done],
        [
            helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    folder = tmp_path_factory.mktemp("models") / "moody"
    mlflow.onnx.save_model(model, folder, pip_requirements=[])
    return Trained(folder, None, None)
