"""The model server with `--workers 2`: real models, real predictions, over all its workers."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from conftest import Answer, Server, Serving, Trained

WORKERS = ("--workers", "2", "--enable_grpc", "false")
ENOUGH = 24
"""New connections, of which the kernel gives each worker some."""


@pytest.fixture
def server(tumor: Trained, serving: Serving, wait_until: Callable[..., None]) -> Iterator[Server]:
    with serving(*tumor.arguments("m"), *WORKERS) as server:
        wait_until(lambda: len(listening(server)) == 2, "both workers listen")
        yield server


def listening(server: Server) -> set[int]:
    """The processes of a server that listen on its port."""
    return {child.pid for child in psutil.Process(server.process.pid).children() if is_up(child)}


def is_up(process: psutil.Process) -> bool:
    try:
        return any(c.status == "LISTEN" for c in process.net_connections("tcp"))
    except psutil.Error:  # it has just ended
        return False


def everywhere(server: Server, method: str, path: str, body: bytes | None = None) -> list[Answer]:
    """Ask on so many new connections that every worker answers some."""
    options = {"headers": {"Connection": "close"}, "body": body}
    return [server.request(method, path, **options) for _ in range(ENOUGH)]


def question(tumor: Trained) -> bytes:
    return json.dumps({"instances": tumor.rows.head(2).values.tolist()}).encode()


class Caller(threading.Thread):
    """Asks on one kept connection, and opens another when it is cut, until the server ends it."""

    def __init__(self, port: int, body: bytes) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.errors: list[Exception] = []
        self._port = port
        self._body = body

    def run(self) -> None:
        while len(self.errors) < 3:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                while True:
                    connection.request("POST", "/v1/models/m:predict", self._body)
                    answer = connection.getresponse()
                    answer.read()
                    self.statuses.append(answer.status)
                    if answer.headers["Connection"] == "close":
                        return
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(error)
            finally:
                connection.close()


@pytest.fixture
def callers(
    tumor: Trained, server: Server, wait_until: Callable[..., None]
) -> Iterator[list[Caller]]:
    """Eight callers that keep the workers busy."""
    callers = [Caller(server.port, question(tumor)) for _ in range(8)]
    for caller in callers:
        caller.start()
    wait_until(lambda: all(len(c.statuses) > 20 for c in callers), "all callers are busy")
    yield callers
    server.stop()
    for caller in callers:
        caller.join(timeout=20)


def test_both_workers_predict_and_the_supervisor_stays_small(
    tumor: Trained, server: Server
) -> None:
    expected = tumor.model.predict(tumor.rows.head(2).to_numpy()).tolist()

    answers = everywhere(server, "POST", "/v1/models/m:predict", question(tumor))

    assert {answer.status for answer in answers} == {200}
    assert all(
        [row["label"] for row in answer.json["predictions"]] == expected for answer in answers
    )
    libraries = {Path(file.path).name for file in psutil.Process(server.process.pid).memory_maps()}
    assert not [name for name in libraries if re.search("numpy|multiarray|onnx|uvloop", name)]


def test_a_killed_worker_takes_only_what_it_was_answering_with_it(
    server: Server, callers: list[Caller], wait_until: Callable[..., None]
) -> None:
    victim = min(listening(server))

    psutil.Process(victim).kill()

    wait_until(lambda: victim not in listening(server), "the worker is gone")
    wait_until(lambda: len(listening(server)) == 2, "there are two workers again")
    so_far = [len(caller.statuses) for caller in callers]
    wait_until(
        lambda: all(len(c.statuses) > n for c, n in zip(callers, so_far, strict=True)), "go on"
    )
    assert sum(len(caller.errors) for caller in callers) <= len(callers)
    assert {code for caller in callers for code in caller.statuses} == {200}


def test_sigterm_under_load_loses_no_request(server: Server, callers: list[Caller]) -> None:
    status = server.stop()
    for caller in callers:
        caller.join(timeout=20)

    assert status == 0
    assert [caller.errors for caller in callers] == [[]] * len(callers)
    assert {code for caller in callers for code in caller.statuses} == {200}


def test_unload_and_load_hold_in_every_worker(server: Server) -> None:
    assert server.post("/v2/repository/models/m/unload", {}).status == 200
    assert {a.status for a in everywhere(server, "GET", "/v2/models/m/ready")} == {404}

    assert server.post("/v2/repository/models/m/load", {}).status == 200
    assert {a.status for a in everywhere(server, "GET", "/v2/models/m/ready")} == {200}


def test_an_unknown_model_is_not_found_in_any_worker(server: Server) -> None:
    answer = server.post("/v2/repository/models/other/load", {})

    assert (answer.status, "'other'" in answer.json["error"]) == (404, True)


def test_metrics_are_those_of_all_workers(tumor: Trained, server: Server) -> None:
    everywhere(server, "POST", "/v1/models/m:predict", question(tumor))

    texts = [answer.body.decode() for answer in everywhere(server, "GET", "/metrics")]

    counts = {re.search(r'request_predict_seconds_count\{.*"m".*} (\S+)', t)[1] for t in texts}
    assert counts == {f"{ENOUGH}.0"}


def test_a_model_that_cannot_be_served_ends_it_with_one_line(
    tmp_path: Path, launch: type[Server]
) -> None:
    server = launch("--model_dir", str(tmp_path), *WORKERS)
    try:
        assert server.process.wait(timeout=30) == 1
        assert "no file MLmodel" in server.errors()
        assert server.errors().count("\n") == 1
    finally:
        server.kill()


def test_no_worker_outlives_its_supervisor(server: Server, wait_until: Callable[..., None]) -> None:
    workers = [psutil.Process(pid) for pid in listening(server)]

    server.process.send_signal(signal.SIGKILL)

    wait_until(lambda: not any(lives(worker) for worker in workers), "all have ended")


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
