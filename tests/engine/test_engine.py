"""The engine as its users meet it: a daemon, a gateway, services that come, change and go."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.engine.processes import words

from modelport_engine.client import EngineClient
from modelport_engine.errors import (
    EngineStartFailed,
    EngineUnavailable,
    HomeInUse,
    InvalidObject,
    NotFound,
    PortInUse,
    RevisionFailed,
    StorageFailed,
    WaitTimedOut,
)
from modelport_engine.replicas.processes import is_alive

if TYPE_CHECKING:
    from pathlib import Path

    import psutil
    from tests.engine.conftest import Home


def test_a_service_answers_by_path_and_by_host(running: Home) -> None:
    model = running.model("one")
    document = running.service(
        model, args=["--allow-pickle"], env=[{"name": "GREETING", "value": "hi"}], timeout=7
    )
    ready = running.deploy(document)
    url = ready["status"]["url"]

    assert url == f"http://127.0.0.1:{running.port}/serving/default/tumor"
    assert running.conditions(ready) == {
        "IngressReady": "True",
        "LatestDeploymentReady": "True",
        "PredictorReady": "True",
        "Ready": "True",
        "RoutesReady": "True",
        "SpecHonoured": "True",
        "Stopped": "False",
    }
    assert ready["status"]["modelStatus"]["transitionStatus"] == "UpToDate"
    assert running.request(url) == (200, {"status": "alive"})
    assert running.request(f"{url}/") == (200, {"status": "alive"})
    gateway = f"http://127.0.0.1:{running.port}"
    host = f"tumor.default.127.0.0.1.nip.io:{running.port}"
    status, arguments = running.request(f"{gateway}/arguments", host=host)
    assert (status, arguments[-1]) == (200, "--allow-pickle")
    assert "--shutdown_seconds=7" in arguments

    _, environment = running.request(url, "/environment")
    assert environment["GREETING"] == "hi"
    assert environment["INFERENCE_SERVICE_NAME"] == "tumor"
    assert "MLFLOW_TRACKING_PASSWORD" not in environment

    for path in ("/", "/serving/default/tumour", "/serving/default/tumor2/v2"):
        status, answer = running.request(gateway, path)
        assert (status, list(answer)) == (404, ["error"])
    listed = running.client.list()
    assert [item["metadata"]["name"] for item in listed["items"]] == ["tumor"]
    assert running.client.list("elsewhere")["items"] == []


def test_what_is_not_honoured_is_said_and_what_is_wrong_is_refused(running: Home) -> None:
    model = running.model("one")
    ready = running.deploy(running.service(model, priority=3, deploymentStrategy={}))
    honoured = next(c for c in ready["status"]["conditions"] if c["type"] == "SpecHonoured")
    assert honoured["status"] == "False"
    assert "spec.predictor.priority" in honoured["message"]

    with pytest.raises(InvalidObject, match="does not exist"):
        running.client.apply(running.service(model / "nowhere"))
    with pytest.raises(InvalidObject, match=r"metadata\.name"):
        running.client.apply(running.service(model, name="../etc"))
    with pytest.raises(NotFound, match=r"\.\./etc"):
        running.client.get("../etc", namespace="../..")
    with pytest.raises(InvalidObject, match="larger than"):
        running.client.apply(running.service(model, args=["x" * 2_000_000]))
    assert running.predict(ready["status"]["url"])["predictions"] == ["one"]


def test_a_new_revision_takes_over_without_a_failed_request(running: Home) -> None:
    first = running.deploy(running.service(running.model("one")))
    url, before = first["status"]["url"], running.predict(first["status"]["url"])
    with running.load(url) as load:
        second = running.deploy(running.service(running.model("two")))
        running.eventually(lambda: not is_alive(before["pid"]))
        seen = len(load.answers)
        running.eventually(lambda: len(load.answers) > seen + 50)
    assert load.failures == []
    assert load.answers[-50:] == ["two"] * 50

    component = second["status"]["components"]["predictor"]
    assert component["latestReadyRevision"] == "tumor-predictor-00002"
    assert component["previousRolledoutRevision"] == "tumor-predictor-00001"
    assert component["traffic"] == [
        {"revisionName": "tumor-predictor-00002", "percent": 100, "latestRevision": True}
    ]
    assert second["metadata"]["generation"] == second["status"]["observedGeneration"] == 2

    again = running.deploy(running.service(running.model("two")))
    assert again["metadata"]["generation"] == 2
    assert again["status"]["components"]["predictor"] == component


def test_a_request_under_way_is_answered_by_the_old_revision(running: Home) -> None:
    old = running.model("one")
    url = running.deploy(running.service(old))["status"]["url"]
    replica = running.predict(url)["pid"]
    with ThreadPoolExecutor() as pool:
        held = pool.submit(running.request, url, "/hold")
        running.eventually((old / "holding").exists)
        running.deploy(running.service(running.model("two")))
        assert running.predict(url)["predictions"] == ["two"]
        assert is_alive(replica)
        (old / "release").touch()
        assert held.result() == (200, "one")
    running.eventually(lambda: not is_alive(replica))


def test_a_revision_that_does_not_load_leaves_the_old_one_serving(running: Home) -> None:
    url = running.deploy(running.service(running.model("one")))["status"]["url"]
    broken = running.model("two", fail="onnxruntime: Protobuf parsing failed")
    with running.load(url) as load, pytest.raises(RevisionFailed, match="Protobuf parsing failed"):
        running.deploy(running.service(broken))
    assert load.failures == []
    assert set(load.answers) == {"one"}

    status = running.client.get("tumor")["status"]
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["states"] == {
        "activeModelState": "Loaded",
        "targetModelState": "FailedToLoad",
    }
    failure = status["modelStatus"]["lastFailureInfo"]
    assert failure["reason"] == "ModelLoadFailed"
    assert failure["exitCode"] == 3
    assert failure["modelRevisionName"] == "tumor-predictor-00002"
    found = running.conditions({"status": status})
    assert (found["Ready"], found["LatestDeploymentReady"], found["RoutesReady"]) == (
        "False",
        "False",
        "True",
    )
    assert status["components"]["predictor"]["traffic"][0]["revisionName"].endswith("00001")

    # The same object again is another try of the same revision.
    running.model("two")
    mended = running.deploy(running.service(broken))
    assert mended["metadata"]["generation"] == 2
    assert running.predict(url)["predictions"] == ["two"]


def test_a_first_revision_that_never_becomes_ready_is_given_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPORT_ENGINE_STARTUP_DEADLINE", "0.8")
    home.start()
    with pytest.raises(RevisionFailed, match=r"not ready within 0\.8 s.*nothing serves"):
        home.deploy(home.service(home.model("one", never_ready=True)))
    home.eventually(lambda: len(list(owned_replicas(home))) == 0)
    url = f"http://127.0.0.1:{home.port}/serving/default/tumor"
    assert home.request(url) == (503, {"error": "service default/tumor has no ready revision"})


def test_a_killed_engine_is_followed_by_one_that_takes_over(home: Home) -> None:
    first = home.start()
    url = home.deploy(home.service(home.model("one")))["status"]["url"]
    replica = home.predict(url)["pid"]
    with home.load(url) as load:
        home.kill_engine()
        second = home.start()
        ready = home.client.wait_ready("tumor", timeout=10)
        seen = len(load.answers)
        home.eventually(lambda: len(load.answers) > seen + 50)
    assert load.failures == []
    assert second["pid"] != first["pid"]
    assert home.predict(url)["pid"] == replica
    assert ready["status"]["observedGeneration"] == 1
    home.deploy(home.service(home.model("two")))
    assert home.predict(url)["predictions"] == ["two"]
    home.eventually(lambda: not is_alive(replica))


def test_a_killed_replica_and_a_killed_gateway_come_back(home: Home) -> None:
    home.start()
    url = home.deploy(home.service(home.model("one"), minReplicas=2))["status"]["url"]
    replicas = list(owned_replicas(home))
    assert len(replicas) == 2
    replicas[0].kill()
    home.eventually(lambda: len(set(owned_replicas(home)) - {replicas[0]}) == 2)
    home.client.wait_ready("tumor", timeout=10)

    (envoy,) = named(home, "_bin/envoy")
    envoy.kill()
    home.eventually(lambda: named(home, "_bin/envoy") not in ([], [envoy]))
    home.eventually(lambda: answers(home, url))
    home.eventually(lambda: home.conditions(home.client.get("tumor"))["Ready"] == "True")


def test_replicas_follow_min_replicas_without_a_new_revision(running: Home) -> None:
    model = running.model("one")
    url = running.deploy(running.service(model))["status"]["url"]
    with running.load(url) as load:
        grown = running.deploy(running.service(model, minReplicas=2))
        running.eventually(lambda: len(list(owned_replicas(running))) == 2)
        running.deploy(running.service(model))
        running.eventually(lambda: len(list(owned_replicas(running))) == 1)
    assert load.failures == []
    component = grown["status"]["components"]["predictor"]
    assert component["latestCreatedRevision"] == "tumor-predictor-00001"
    assert grown["metadata"]["generation"] == 2


def test_scaling_down_keeps_the_replica_that_serves(home: Home) -> None:
    home.start()
    model = home.model("one")
    url = home.deploy(home.service(model, minReplicas=2))["status"]["url"]
    pids = replica_pids(home)
    home.model("one", never_ready=True)
    os.kill(pids[1], signal.SIGKILL)
    home.eventually(lambda: replica_pids(home).get(1) not in (None, pids[1]))
    home.deploy(home.service(model))
    home.eventually(lambda: len(list(owned_replicas(home))) == 1)
    assert home.predict(url)["pid"] == pids[2]


def test_a_replica_that_could_not_be_retired_is_retired_later(home: Home) -> None:
    obstacle = retire_in_vain(home)
    obstacle.rmdir()
    home.eventually(lambda: len(list(owned_replicas(home))) == 1)
    ready = home.client.wait_ready("tumor", timeout=10)
    assert home.conditions(ready)["Ready"] == "True"


def test_delete_also_ends_a_replica_that_could_not_be_retired(home: Home) -> None:
    obstacle = retire_in_vain(home)
    obstacle.rmdir()
    home.client.delete("tumor", timeout=10)
    assert list(owned_replicas(home)) == []


def test_delete_removes_processes_routes_and_logs(running: Home) -> None:
    model = running.model("one")
    url = running.deploy(running.service(model))["status"]["url"]
    other = running.deploy(running.service(model, name="other"))["status"]["url"]
    logs = running.client.paths.service_logs("default", "tumor")
    assert logs.is_dir()
    running.client.delete("tumor")
    assert len(list(owned_replicas(running))) == 1
    assert not logs.exists()
    assert running.request(url)[0] == 404
    assert running.request(other)[0] == 200
    with pytest.raises(NotFound, match="no InferenceService 'tumor'"):
        running.client.delete("tumor")
    reborn = running.deploy(running.service(model))
    assert reborn["status"]["components"]["predictor"]["latestReadyRevision"].endswith("00001")


def test_shutdown_leaves_nothing_and_the_next_start_brings_all_back(home: Home) -> None:
    home.start()
    url = home.deploy(home.service(home.model("one")))["status"]["url"]
    paths = home.client.paths
    for path in (paths.socket, paths.database, paths.lock, paths.envoy / "admin.sock"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(home.seen) >= 3
    home.client.shutdown()
    assert home.living() == []
    assert not paths.socket.exists()
    assert not (paths.envoy / "admin.sock").exists()
    with pytest.raises(EngineUnavailable, match="modelport up"):
        home.client.list()

    home.client.ensure_running()
    home.client.wait_ready("tumor", timeout=10)
    assert home.predict(url)["predictions"] == ["one"]


def test_shutdown_also_ends_what_a_killed_engine_left(home: Home) -> None:
    info = home.start()
    home.deploy(home.service(home.model("one")))
    os.kill(info["pid"], signal.SIGKILL)
    home.eventually(lambda: not home.client.is_running())
    assert len(home.living()) >= 2
    home.client.shutdown()
    assert home.living() == []


def test_shutdown_ends_an_engine_that_does_not_answer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelport_engine.client._ANSWER_LIMIT", 0.5)
    monkeypatch.setattr("modelport_engine.lock.TERM_GRACE", 0.5)
    info = home.start()
    home.deploy(home.service(home.model("one")))
    os.kill(info["pid"], signal.SIGSTOP)
    home.client.shutdown()
    assert home.living() == []


def test_shutdown_spares_a_stranger_that_has_the_id_of_an_engine_that_is_gone(home: Home) -> None:
    paths = home.client.paths
    paths.prepare()
    paths.lock.write_text(f"{os.getpid()}\n")
    other = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(1); input()"
    with subprocess.Popen(
        [sys.executable, "-uc", other, str(paths.lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(WaitTimedOut, match=r"engine\.lock has not ended after 0\.2 s"):
            home.client.shutdown(timeout=0.2)
        holder.kill()


def test_a_start_that_fails_leaves_what_it_took_over(home: Home) -> None:
    home.start()
    url = home.deploy(home.service(home.model("one")))["status"]["url"]
    replica = home.predict(url)["pid"]
    home.kill_engine()
    socket_path = home.client.paths.socket
    socket_path.unlink()
    socket_path.mkdir()
    with pytest.raises(StorageFailed):
        home.start()
    assert home.predict(url)["pid"] == replica

    (envoy,) = named(home, "_bin/envoy")
    envoy.kill()
    home.eventually(lambda: not is_alive(envoy.pid))
    with pytest.raises(StorageFailed):
        home.start()
    assert [process.pid for process in owned(home)] == [replica]
    socket_path.rmdir()
    home.start()
    assert home.predict(url)["pid"] == replica


def test_a_runtime_that_cannot_be_started_is_said_so(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPORT_ENGINE_RUNTIME", "/no/such/runtime")
    home.start()
    with pytest.raises(RevisionFailed, match=r"/no/such/runtime cannot be started \(No such file"):
        home.deploy(home.service(home.model("one")))


def test_clients_that_start_at_once_share_one_engine(home: Home) -> None:
    infos: list[int] = []
    threads = [threading.Thread(target=lambda: infos.append(home.start()["pid"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(infos) == 3
    assert len(set(infos)) == 1


def test_a_second_engine_on_the_same_home_refuses(running: Home) -> None:
    info = running.client.info()
    with pytest.raises(HomeInUse, match=f"pid {info['pid']} already works on"):
        raise running.start_another()
    other = running.free_port()
    with pytest.raises(
        EngineStartFailed, match=f"already runs with its gateway on port {running.port}"
    ):
        running.client.ensure_running(gateway_port=other)


def test_a_busy_port_is_named_with_its_holder(home: Home) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", home.port))
        holder.listen()
        with pytest.raises(
            PortInUse, match=rf"port {home.port} .*pid {os.getpid()}\).*--gateway-port"
        ):
            home.start()
    assert not home.client.is_running()


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be written") as caught:
        EngineClient(tmp_path / "file" / "home").ensure_running()
    assert "\n" not in str(caught.value)


def test_a_deep_home_works(home: Home) -> None:
    home.client = EngineClient(home.folder / ("deep" * 30) / "home")
    home.start()
    url = home.deploy(home.service(home.model("one")))["status"]["url"]
    assert home.predict(url)["predictions"] == ["one"]


def answers(home: Home, url: str) -> bool:
    try:
        status, answer = home.request(url, "/v1/models/tumor:predict", b"{}")
    except OSError:
        return False
    return status == 200 and answer["predictions"] == ["one"]


def retire_in_vain(home: Home) -> Path:
    """Scale down while the gateway's files cannot be written; give what is in their way."""
    home.start()
    model = home.model("one")
    home.deploy(home.service(model, minReplicas=2))
    obstacle = home.client.paths.envoy / "cds.partial"
    obstacle.mkdir()
    home.client.apply(home.service(model))
    home.eventually(lambda: "ERROR" in home.client.paths.log.read_text())
    assert len(list(owned_replicas(home))) == 2
    return obstacle


def replica_pids(home: Home) -> dict[int, int]:
    """The process of each slot, as the engine has recorded them."""
    with closing(sqlite3.connect(f"file:{home.client.paths.database}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT slot, pid FROM replicas"))


def owned(home: Home) -> list[psutil.Process]:
    home.remember()
    return home.living()


def owned_replicas(home: Home) -> list[psutil.Process]:
    return named(home, "standin")


def named(home: Home, word: str) -> list[psutil.Process]:
    """Processes of this home with a word in their command line."""
    return [process for process in owned(home) if word in " ".join(words(process))]
