"""Real engines, real Envoy, real model servers: each test has a home of its own."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest
from tests.engine.gate import Gate
from tests.engine.processes import lives

from modelport_engine.client import EngineClient
from modelport_engine.errors import EngineError
from modelport_engine.replicas.processes import owned
from modelport_engine.succession import kill_standbys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STANDIN = Path(__file__).with_name("standin.py")


def eventually(condition: Callable[[], Any], limit: float = 15.0) -> Any:
    """Wait for a condition to hold and give what it gave; fail after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)
    return result


class Home:
    """One engine's home, and everything that was seen running there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = EngineClient(folder / "home")
        self.port = self.free_port()
        self.seen: set[psutil.Process] = set()

    @staticmethod
    def eventually(condition: Callable[[], Any], limit: float = 15.0) -> Any:
        """Wait for a condition to hold and give what it gave; fail after `limit` seconds."""
        return eventually(condition, limit)

    @staticmethod
    def free_port() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    @staticmethod
    def request(
        url: str,
        path: str = "",
        body: bytes | None = None,
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Call the gateway as curl would; the body comes back parsed."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        try:
            method = "GET" if body is None else "POST"
            sent = {"Host": host or parts.netloc, **(headers or {})}
            connection.request(method, parts.path + path, body, sent)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    @staticmethod
    def service(folder: Path, name: str = "tumor", **predictor: Any) -> dict[str, Any]:
        """Write an InferenceService; `args` and `env` go to the model, the rest beside it."""
        model = {"modelFormat": {"name": "onnx"}, "storageUri": f"file://{folder}"}
        model |= {key: predictor.pop(key) for key in ("args", "env") if key in predictor}
        return {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name},
            "spec": {"predictor": {"model": model, **predictor}},
        }

    @staticmethod
    def conditions(document: dict[str, Any]) -> dict[str, str]:
        return {entry["type"]: entry["status"] for entry in document["status"]["conditions"]}

    @staticmethod
    def load(url: str, path: str = "/v1/models/tumor:predict", body: bytes = b"{}") -> Load:
        return Load(url, path, body)

    def start(self) -> dict[str, Any]:
        info = self.client.ensure_running(gateway_port=self.port)
        self.seen.add(psutil.Process(info["pid"]))
        return info

    def start_another(self) -> EngineError:
        """Start a second engine and give the error that it ends with."""
        command = [sys.executable, "-m", "modelport_engine", "--detach"]
        command += ["--home", str(self.client.paths.home)]
        ended = subprocess.run(command, capture_output=True, timeout=20, check=False)
        assert ended.returncode == 1
        return EngineError.of(json.loads(ended.stdout))

    def model(self, name: str, **behaviour: Any) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "behaviour.json").write_text(json.dumps({"answer": name, **behaviour}))
        return folder

    def deploy(self, document: dict[str, Any]) -> dict[str, Any]:
        applied = self.client.apply(document)
        ready = self.client.wait_ready(
            applied["metadata"]["name"], generation=applied["metadata"]["generation"], timeout=60
        )
        self.remember()
        return ready

    @staticmethod
    def transformer(model: Path) -> dict[str, Any]:
        """Write the container of a transformer that is a command of its own."""
        return {
            "name": "kserve-container",
            "image": "registry.example/transformer:1",
            "command": [sys.executable, str(STANDIN)],
            "args": ["--transform", f"--model_dir={model}"],
        }

    def predict(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        status, answer = self.request(url, "/v1/models/tumor:predict", b"{}", headers=headers)
        assert status == 200, answer
        return answer

    def kill_engine(self) -> None:
        """Kill the engine so that none comes back by itself: with its standby."""
        pid = self.client.info()["pid"]
        os.kill(pid, signal.SIGSTOP)  # so that it does not replace the standby
        kill_standbys(self.client.paths.home)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.client.is_running())

    def remember(self) -> None:
        self.seen.update(owned(self.client.paths.home))

    def living(self) -> list[psutil.Process]:
        """Processes seen here that still live."""
        return [process for process in self.seen if lives(process)]


@contextmanager
def new_home(folder: Path) -> Iterator[Home]:
    """A home whose engine will run the stand-in model server; all of it is gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELPORT_ENGINE_RUNTIME", shlex.join([sys.executable, str(STANDIN)]))
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "do-not-tell")
        home = Home(folder)
        yield home
        home.remember()
        home.client.shutdown()
        assert home.living() == []


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home of the test's own; its engine is not started yet."""
    with new_home(tmp_path) as home:
        yield home


@pytest.fixture(scope="module")  # its variables must not reach other folders' tests
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with new_home(tmp_path_factory.mktemp("engine")) as home:
        home.start()
        yield home


@pytest.fixture
def running(_shared: Home, tmp_path: Path) -> Iterator[Home]:
    """A running engine without services, for tests that leave it running."""
    _shared.folder = tmp_path
    yield _shared
    for item in _shared.client.list()["items"]:
        _shared.client.delete(item["metadata"]["name"])


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A running gateway without an engine; its tests give it a table each."""
    gate = Gate(tmp_path_factory.mktemp("gateway"))
    try:
        gate.start()
        yield gate
    finally:
        gate.close()


class Load:
    """Callers that keep asking; what was answered and what failed is kept."""

    def __init__(self, url: str, path: str, body: bytes, callers: int = 2) -> None:
        self._address = urlsplit(url).netloc
        self._path = urlsplit(url).path + path
        self._body = body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]
        self.answers: list[Any] = []
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        asking = [thread.is_alive() for thread in self._threads]
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert all(asking), "a caller ended early: what it did not ask could not fail"

    def _call(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        while not self._stop.wait(0.005):
            try:
                self._ask(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
                self.failures.append(repr(error))
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", self._path, self._body)
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            self.answers.append(json.loads(body)["predictions"][0])
        else:
            self.failures.append(f"{response.status} {body!r}")
