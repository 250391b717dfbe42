"""Start, refusal to start, and the end of a server process."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Server, Serving, Trained

SECOND = 500_000  # loop steps of the moody model


@pytest.fixture
def refusal(launch: type[Server]) -> Callable[..., str]:
    """Start a server that cannot start; what it wrote, after its status was checked."""

    def start(*arguments: str, port: int | None = None) -> str:
        server = launch(*arguments, port=port)
        try:
            assert server.process.wait(timeout=30) == 1
            errors = server.errors()
        finally:
            server.kill()
        assert errors.startswith("modelport-serving: ")
        assert errors.count("\n") == 1, errors
        return errors

    return start


def test_refuses_a_folder_without_a_model(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "no file MLmodel" in refusal("--model_dir", str(tmp_path))


def test_refuses_a_broken_model(
    tumor: Trained, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tumor.folder, folder)
    (folder / "model.onnx").write_bytes(b"not a model")

    assert "ONNX Runtime cannot load" in refusal("--model_dir", str(folder))


def test_refuses_a_pickle(pickled: Trained, refusal: Callable[..., str]) -> None:
    errors = refusal("--model_dir", str(pickled.folder))

    assert "is a sklearn model" in errors
    assert "--allow-pickle" in errors


def test_refuses_a_port_that_is_taken(
    tumor: Trained, serving: Serving, refusal: Callable[..., str]
) -> None:
    with serving(*tumor.arguments("m")) as first:
        errors = refusal(*tumor.arguments("m"), port=first.port)

    assert "Address already in use" in errors
    assert "--http_port" in errors


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_refuses_an_address_that_is_not_here(
    tumor: Trained, host: str, refusal: Callable[..., str]
) -> None:
    assert f"cannot listen on {host}" in refusal(*tumor.arguments("m"), "--host", host)


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_listens_where_it_is_told(price: Trained, host: str, serving: Serving) -> None:
    with serving(*price.arguments("m"), "--host", host, host=host) as server:
        assert server.get("/v2/health/live").status == 200


def test_is_one_process_that_ends_with_0(tumor: Trained, serving: Serving) -> None:
    with serving(*tumor.arguments("m")) as server:
        assert psutil.Process(server.process.pid).children() == []
        assert server.stop() == 0
        errors = server.errors()

    assert errors == f"modelport-serving: m is ready at http://{server.address}\n"


def test_ctrl_c_ends_it_too(tumor: Trained, serving: Serving) -> None:
    with serving(*tumor.arguments("m")) as server:
        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(timeout=20) == 0


class Caller(threading.Thread):
    """Asks on one kept connection until the server closes it."""

    def __init__(self, port: int, body: bytes) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.error: Exception | None = None
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._body = body

    def run(self) -> None:
        try:
            while True:
                self._connection.request("POST", "/v1/models/m:predict", self._body)
                answer = self._connection.getresponse()
                answer.read()
                self.statuses.append(answer.status)
                if answer.headers["Connection"] == "close":
                    return
        except Exception as error:  # noqa: BLE001 - the test asserts that there is none
            self.error = error
        finally:
            self._connection.close()


def test_sigterm_under_load_loses_no_request(
    tumor: Trained, serving: Serving, wait_until: Callable[..., None]
) -> None:
    body = json.dumps({"instances": tumor.rows.head(2).values.tolist()}).encode()
    with serving(*tumor.arguments("m")) as server:
        callers = [Caller(server.port, body) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_until(lambda: all(len(c.statuses) > 20 for c in callers), "all callers are busy")
        status = server.stop()
        for caller in callers:
            caller.join(timeout=20)

    assert status == 0
    assert [caller.error for caller in callers] == [None] * 8
    assert {code for caller in callers for code in caller.statuses} == {200}


@pytest.fixture
def busy(
    moody: Trained, serving: Serving, wait_until: Callable[..., None]
) -> Iterator[tuple[Server, Caller]]:
    """A server in the middle of a prediction that takes about a second."""
    body = json.dumps({"instances": [{"count": SECOND, "index": 0}]}).encode()
    with serving(*moody.arguments("m")) as server:
        process = psutil.Process(server.process.pid)
        before = sum(process.cpu_times()[:2])
        caller = Caller(server.port, body)
        caller.start()
        wait_until(lambda: sum(process.cpu_times()[:2]) > before + 0.1, "the model is computing")
        yield server, caller


def test_a_slow_prediction_lets_others_through(busy: tuple[Server, Caller]) -> None:
    server, caller = busy

    assert server.get("/v2/health/live").status == 200
    assert caller.statuses == []
    server.stop()
    caller.join(timeout=20)


def test_sigterm_finishes_what_is_in_flight(busy: tuple[Server, Caller]) -> None:
    server, caller = busy
    assert caller.statuses == []

    status = server.stop()
    caller.join(timeout=20)

    assert status == 0
    assert (caller.error, caller.statuses) == (None, [200])


def test_a_stopping_server_says_that_it_is_not_ready(busy: tuple[Server, Caller]) -> None:
    server, caller = busy

    server.process.terminate()
    ready = server.get("/v2/health/ready")
    while ready.status == 200 and caller.is_alive():
        ready = server.get("/v2/health/ready")
    caller.join(timeout=20)

    assert (ready.status, ready.json["error"]) == (503, "the server is stopping")
    assert server.process.wait(timeout=20) == 0


def test_a_loading_server_is_live_and_not_ready(
    pickled: Trained, wait_until: Callable[..., None], launch: type[Server]
) -> None:
    # MLflow takes seconds to import: long enough to look at a server that is loading.
    server = launch(*pickled.arguments("m"), "--allow-pickle")
    try:
        wait_until(lambda: listens(server.port), "the port answers")
        assert server.get("/v2/health/live").json == {"live": True}
        ready = server.get("/v2/health/ready")
        assert (ready.status, ready.json["ready"], ready.json["live"]) == (503, False, False)
        answer = server.post("/v1/models/m:predict", {"instances": [[1, 1]]})
        assert (answer.status, "not loaded yet" in answer.json["error"]) == (503, True)
        assert server.get("/v2/models/m/ready").status == 503
        status = server.stop()
        assert status == 0
    finally:
        server.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_listens_on_loopback_only(tumor: Trained, serving: Serving) -> None:
    with serving(*tumor.arguments("m")) as server:
        process = psutil.Process(server.process.pid)
        addresses = {c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"}

    assert addresses == {"127.0.0.1"}
