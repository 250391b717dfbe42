"""The gateway's process: how it starts, is taken over, listens, writes logs and ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.conftest import eventually
from tests.engine.gate import PATH, Gate, Replica, backend, shared
from tests.engine.outside_program import THERE, TOKEN

from modelport_engine.errors import EngineStartFailed, GatewayFailed, PortInUse
from modelport_engine.gateway import envoy
from modelport_engine.gateway.xds import Table
from modelport_engine.replicas.processes import is_alive, kill_strays, owned

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERYWHERE = ["0.0.0.0", "::"]  # noqa: S104
CHECKOUT = Path(__file__).parents[2]
ALONE = ["unshare", "--user", "--map-root-user", "--net"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A home whose Envoys are gone afterwards."""
    yield tmp_path
    kill_strays(tmp_path, keep=set())


@pytest.fixture
def one() -> Iterator[Replica]:
    with Replica("one") as replica:
        yield replica


def test_an_envoy_that_does_not_take_its_table_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(folder)
    with monkeypatch.context() as patch:
        patch.setattr(envoy, "START_LIMIT", -1.0)
        with pytest.raises(GatewayFailed, match="did not take"):
            gate.start()
    assert not gate.gateway.running
    assert [process for process in owned(folder) if is_alive(process.pid)] == []

    gate.start()
    assert gate.gateway.answering
    gate.close()


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_the_next_engine_takes_over_an_envoy_that_it_would_start_itself(
    folder: Path, one: Replica
) -> None:
    table = shared((backend("one", one, concurrency=2), 100))
    first = Gate(folder)
    first.start(table)
    pid, port = first.gateway.pid, first.gateway.port
    first.leave()

    second = Gate(folder)
    second.start(table)
    assert (second.gateway.pid, second.gateway.port) == (pid, port)
    assert second.ask() == (200, "one")
    second.leave()

    # The files are the same; the process is not what this engine would start.
    third = Gate(folder, workers=2)
    third.start(table)
    assert not is_alive(pid)
    assert third.gateway.port == port
    assert third.ask() == (200, "one")
    pid = third.gateway.pid
    third.leave()

    guarded = Gate(folder, workers=2, token=TOKEN)
    guarded.start(table)
    assert guarded.gateway.pid != pid
    assert guarded.ask() == (200, "one")
    guarded.close()


def test_requests_under_way_are_answered_before_it_ends(folder: Path, one: Replica) -> None:
    gate = Gate(folder)
    gate.start(shared((backend("one", one), 100)))
    one.delay = 1.0
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(gate.ask) for _ in range(5)]
        eventually(lambda: one.served == 5)
        gate.close()
        assert [request.result() for request in asked] == [(200, "one")] * 5
    with pytest.raises(ConnectionRefusedError):
        gate.ask()


def test_a_request_that_takes_too_long_does_not_keep_it(
    folder: Path, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envoy, "DRAIN_LIMIT", 0.4)
    gate = Gate(folder)
    gate.start(shared((backend("one", one), 100)))
    one.delay = 60.0
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(gate.ask)
        eventually(lambda: one.served)
        gate.close()
        assert isinstance(asked.exception(timeout=10), ConnectionError)


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_the_access_log_tells_all_but_secrets(folder: Path, one: Replica) -> None:
    gate = Gate(folder)
    gate.start(shared((backend("one", one), 100)))
    headers = {"Authorization": "Bearer secret-1", "Cookie": "secret-2", "X-Request-Id": "mine"}
    gate.ask(f"{PATH}?token=secret-3", headers, body=b"secret-4")
    gate.ask("/nowhere?token=secret-5", {"X-Envoy-Original-Path": "/secret-6"})
    log = gate.log("access.log")
    eventually(lambda: len(_lines(log)) == 2)
    assert "secret" not in log.read_text()
    found, lost = _lines(log)
    assert found.pop("time") <= lost["time"]
    assert found.pop("duration_ms") >= 0
    assert found == {
        "method": "POST",
        "path": PATH,
        "authority": f"127.0.0.1:{gate.gateway.port}",
        "status": 200,
        "grpc_status": None,
        "flags": "-",
        "bytes_received": 8,
        "bytes_sent": 3,
        "cluster": "default/one",
        "host": f"127.0.0.1:{one.port}",
        "request_id": "mine",
    }
    assert (lost["path"], lost["status"], lost["cluster"]) == ("/nowhere", 404, None)
    gate.close()


def test_logs_that_have_grown_are_put_aside(
    folder: Path, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(folder)
    gate.start(shared((backend("one", one), 100)))
    log, older = gate.log("access.log"), gate.log("access.log.1")

    def written(text: str) -> None:
        gate.ask(f"/{text}")
        eventually(lambda: log.exists() and text in log.read_text())

    written("first")
    gate.run(gate.gateway.rotate_logs())
    assert not older.exists()

    monkeypatch.setattr(envoy, "LOG_LIMIT", 10)
    for text, before in (("second", "first"), ("third", "second")):
        gate.log("envoy.log").write_text(f"{before} and more\n")
        gate.run(gate.gateway.rotate_logs())
        assert before in older.read_text()
        assert gate.log("envoy.log").stat().st_size == 0
        assert gate.log("envoy.log.1").read_text() == f"{before} and more\n"
        written(text)
    assert "first" not in log.read_text() + older.read_text()
    gate.close()


def test_its_files_are_its_owners_alone_and_it_complains_of_nothing(
    folder: Path, one: Replica
) -> None:
    before = os.umask(0o077)  # as the engine's process has it
    try:
        gate = Gate(folder, token=TOKEN)
        gate.start(shared((backend("one", one), 100)))
    finally:
        os.umask(before)
    gate.ask()
    eventually(lambda: _lines(gate.log("access.log")))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in gate.paths.envoy.iterdir()}
    assert {"lds.json", "access.log", "envoy.log", "admin.sock"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert gate.log("envoy.log").read_text() == ""
    gate.close()


@pytest.mark.parametrize(
    ("host", "token", "message"),
    [
        (EVERYWHERE[0], None, "without a token"),
        (EVERYWHERE[1], None, "without a token"),
        (EVERYWHERE[0], "", "token is empty"),
        (EVERYWHERE[0], "two words", "token is empty or has"),
        (EVERYWHERE[0], "line\nfeed", "token is empty or has"),
        ("localhost", None, "not an IP address"),
        ("203.0.113.7", TOKEN, "no address of this machine"),
    ],
)
def test_it_does_not_listen_where_it_must_not(
    folder: Path, host: str, token: str | None, message: str
) -> None:
    gate = Gate(folder, host=host, token=token)
    with pytest.raises(EngineStartFailed, match=message) as caught:
        gate.start()
    assert "\n" not in str(caught.value)
    assert not gate.gateway.running
    gate.leave()


def test_a_port_that_is_taken_on_any_of_its_addresses_is_refused(folder: Path) -> None:
    gate = Gate(folder, host=EVERYWHERE[0], token=TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} on 0.0.0.0"):
            gate.run(gate.gateway.claim(port, 8780))
    gate.leave()


@pytest.mark.skipif(
    subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="this system gives no network of one's own",
)
@pytest.mark.parametrize("host", [*EVERYWHERE, THERE])
def test_whoever_comes_from_outside_must_show_the_token(folder: Path, host: str) -> None:
    program = [sys.executable, "-m", "tests.engine.outside_program", str(folder), host]
    ended = subprocess.run(
        [*ALONE, *program], capture_output=True, text=True, timeout=60, cwd=CHECKOUT
    )
    assert ended.returncode == 0, ended.stderr
    answers = json.loads(ended.stdout)
    refused = "send the gateway's token: Authorization: Bearer TOKEN"
    assert answers["local"] == answers["with"] == [200, "one"]
    assert answers["without"] == answers["wrong"] == [401, {"error": refused}]
    assert answers["grpc without"] == ["UNAUTHENTICATED", refused]
    assert answers["grpc with"] == ["OK", "one"]
    # Neither model servers nor logs learn it; one file has to.
    assert "authorization" not in answers["forwarded"]
    files = (path for path in (folder / "engine").rglob("*") if path.is_file())
    knowing = {path.name for path in files if TOKEN.encode() in path.read_bytes()}
    assert knowing == {"lds.json"}


def test_a_table_is_taken_once_only_when_it_differs(folder: Path) -> None:
    gate = Gate(folder)
    gate.start()
    routes = gate.log("rds.json")
    before = routes.stat().st_mtime_ns
    gate.apply(Table())
    assert routes.stat().st_mtime_ns == before
    gate.close()
