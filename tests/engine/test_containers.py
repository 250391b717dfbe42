"""Custom predictors: any program that listens on $(PORT), as Kubernetes would run it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import pytest
    from tests.engine.conftest import Home

PROGRAM = Path(__file__).with_name("container.py")
CUSTOM = f"""
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: custom
spec:
  predictor:
    containers:
      - name: kserve-container
        image: example.org/custom:1
        command: [python, {PROGRAM}]
        args: [$(PORT), "--name=$(INFERENCE_SERVICE_NAME)", "$$(PORT)"]
        workingDir: FOLDER
        env:
          - name: WHOM
            value: you
          - name: GREETING
            value: hello $(WHOM) in $(POD_NAMESPACE)
        readinessProbe:
          httpGet:
            path: /healthz
            port: 8080
"""


def custom(home: Home, **predictor: Any) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(CUSTOM.replace("FOLDER", str(home.folder)))
    document["spec"]["predictor"] |= predictor
    return document


def ready(home: Home) -> None:
    (home.folder / "ready").touch()


def ask(home: Home, path: str = "/") -> dict[str, Any]:
    url = home.client.get("custom")["status"]["url"]
    status, answer = home.request(url, path, b"{}")
    assert status == 200, answer
    return dict(answer)


def test_a_command_is_run_as_it_is_written(running: Home) -> None:
    applied = running.client.apply(custom(running))
    (replica,) = running.eventually(lambda: running.client.replicas("custom")["items"])
    # It listens long before it is ready: only the probe knows.
    running.eventually(lambda: answers(running, replica["port"]))
    status = running.client.get("custom")["status"]
    assert running.conditions({"status": status})["PredictorReady"] == "Unknown"
    assert "url" not in status

    ready(running)
    service = running.client.wait_ready("custom", generation=applied["metadata"]["generation"])
    assert running.conditions(service)["Ready"] == "True"
    told = ask(running)
    assert told["folder"] == str(running.folder)
    assert told["arguments"] == ["--name=custom", "$(PORT)"]
    assert told["greeting"] == "hello you in default"


def answers(home: Home, port: int) -> bool:
    try:
        return home.request(f"http://127.0.0.1:{port}", "/")[0] == 200
    except OSError:
        return False


def test_a_container_above_its_memory_limit_is_killed_and_started_again(running: Home) -> None:
    ready(running)
    document = custom(running)
    (container,) = document["spec"]["predictor"]["containers"]
    container["resources"] = {"limits": {"memory": "200Mi"}}
    running.deploy(document)
    url = running.client.get("custom")["status"]["url"]
    before = ask(running)["pid"]
    running.request(url, "/grow", b"{}")  # it may be killed before it has answered

    def after() -> list[dict[str, Any]]:
        found = running.client.replicas("custom")["items"]
        return [one for one in found if one["ready"] and one["pid"] != before]

    (replica,) = running.eventually(after)
    assert replica["restarts"] == 1
    assert ask(running)["pid"] == replica["pid"]
    (failed,) = [
        event
        for event in running.client.events("custom")["items"]
        if event["reason"] == "ReplicaFailed"
    ]
    assert failed["type"] == "Warning"
    assert "custom-predictor-00001-1 was killed (OOMKilled): it used 3" in failed["message"]
    assert "of its limit of 200 MiB" in failed["message"]


def test_container_concurrency_of_one_never_overlaps(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers of Envoy know nothing of each other: the limit is exact with one of them.
    monkeypatch.setenv("MODELPORT_ENGINE_GATEWAY_WORKERS", "1")
    home.start()
    ready(home)
    home.deploy(custom(home))
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda _: ask(home, "/work"), range(40)))
        assert ask(home)["most"] > 1

        document = custom(home, containerConcurrency=1)
        # Another revision: a process that has counted nothing yet.
        document["spec"]["predictor"]["containers"][0]["env"][0]["value"] = "all"
        home.deploy(document)
        list(callers.map(lambda _: ask(home, "/work"), range(40)))
        assert ask(home)["most"] == 1
