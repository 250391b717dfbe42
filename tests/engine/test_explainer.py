"""A service with an explainer: a second process of each revision, behind the same address."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.processes import words

from modelport_engine.errors import RevisionFailed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.conftest import Home


def explained(home: Home, folder: Path, **predictor: Any) -> dict[str, Any]:
    """Write an InferenceService with an explainer, as it runs on a cluster too."""
    document = home.service(folder, **predictor)
    container = {
        "name": "kserve-container",
        "image": "example.org/modelport-runtime:1",
        "args": ["--model_dir=/mnt/models"],
        "env": [{"name": "STORAGE_URI", "value": f"file://{folder}"}],
    }
    document["spec"]["explainer"] = {"containers": [container], "timeout": 90}
    return document


def explain(home: Home, url: str, path: str = "/v1/models/tumor:explain") -> dict[str, Any]:
    status, answer = home.request(url, path, b"{}")
    assert status == 200, answer
    return answer


def pids(home: Home) -> dict[str, int]:
    """The engine's runtimes, by component."""
    home.remember()
    lines = {process.pid: " ".join(words(process)) for process in home.living()}
    return {
        "explainer" if "--predictor_host" in line else "predictor": pid
        for pid, line in lines.items()
        if "--model_name" in line
    }


def test_requests_to_explain_and_all_others_find_their_own(running: Home) -> None:
    ready = running.deploy(explained(running, running.model("one")))
    url = ready["status"]["url"]
    conditions = running.conditions(ready)
    assert conditions["PredictorReady"] == conditions["ExplainerReady"] == "True"
    assert conditions["Ready"] == conditions["SpecHonoured"] == "True"
    component = ready["status"]["components"]["explainer"]
    assert component["latestReadyRevision"] == "tumor-explainer-00001"
    assert component["url"] == url

    predictor, explainer = running.predict(url), explain(running, url)
    assert explainer["explanations"]["pid"] == predictor["pid"] != explainer["pid"]
    for path in ("/v2/models/tumor/explain", "/v2/models/tumor/versions/1/explain"):
        assert explain(running, url, path)["pid"] == explainer["pid"]
    asked = explain(running, url, "/v1/models/tumor:explain?trace=1")
    assert asked["path"] == "/v1/models/tumor:explain?trace=1"
    host = f"tumor.default.example.org:{running.port}"
    gateway = f"http://127.0.0.1:{running.port}"
    status, answer = running.request(gateway, "/v1/models/tumor:explain", b"{}", host=host)
    assert (status, answer["pid"]) == (200, explainer["pid"])
    assert running.request(gateway, "/revisions/default/tumor-predictor-00009/")[0] == 503


def test_a_revision_s_explainer_asks_the_same_revision_s_predictor(running: Home) -> None:
    url = running.deploy(explained(running, running.model("one")))["status"]["url"]
    with running.load(url, path="/v1/models/tumor:predict") as load:
        running.deploy(explained(running, running.model("two")))
        assert explain(running, url)["explanations"]["predictions"] == ["two"]
        running.eventually(lambda: load.answers[-20:] == ["two"] * 20)
    assert load.failures == []

    ready = running.deploy(running.service(running.model("three")))
    assert "explainer" not in ready["status"]["components"]
    assert running.request(url, "/v1/models/tumor:explain", b"{}")[0] == 501
    running.eventually(lambda: list(pids(running)) == ["predictor"])


def test_one_that_does_not_start_keeps_the_old_revision(running: Home) -> None:
    url = running.deploy(explained(running, running.model("one")))["status"]["url"]
    broken = running.model("two", explainer_fails="no background")
    with pytest.raises(RevisionFailed, match=r"tumor-explainer-00002-1 .*no background"):
        running.deploy(explained(running, broken))
    assert explain(running, url)["explanations"]["predictions"] == ["one"]
    conditions = running.conditions(running.client.get("tumor"))
    assert (conditions["ExplainerReady"], conditions["PredictorReady"]) == ("False", "Unknown")


def test_a_killed_explainer_comes_back_and_the_predictor_answers_on(home: Home) -> None:
    home.start()
    url = home.deploy(explained(home, home.model("one")))["status"]["url"]
    with home.load(url) as load:
        for _ in range(2):
            explainer = explain(home, url)["pid"]
            os.kill(explainer, signal.SIGKILL)
            home.eventually(
                lambda gone=explainer: (
                    home.request(url, "/v1/models/tumor:explain", b"{}")[1].get("pid", gone) != gone
                )
            )
    assert load.failures == []

    predictor = home.predict(url)["pid"]
    os.kill(predictor, signal.SIGKILL)
    home.eventually(lambda: home.request(url, "/v1/models/tumor:predict", b"{}")[0] == 200)
    # It asks by the revision's path, which leads to the new process.
    assert explain(home, url)["explanations"]["pid"] == home.predict(url)["pid"] != predictor


def test_the_engine_comes_back_to_it(home: Home) -> None:
    info = home.start()
    url = home.deploy(explained(home, home.model("one")))["status"]["url"]
    before = pids(home)
    os.kill(info["pid"], signal.SIGKILL)
    home.eventually(lambda: not home.client.is_running())
    home.start()
    assert pids(home) == before
    assert explain(home, url)["pid"] == before["explainer"]

    home.client.shutdown()
    home.port = home.free_port()  # its explainer's address has changed with it
    home.start()
    url = home.client.wait_ready("tumor", timeout=20)["status"]["url"]
    assert explain(home, url)["explanations"]["predictions"] == ["one"]


def test_the_gateway_moves_to_another_port(home: Home) -> None:
    home.start()
    home.deploy(explained(home, home.model("one")))
    before = pids(home)
    home.kill_engine()
    home.port = home.free_port()
    home.start()
    url = f"http://127.0.0.1:{home.port}/serving/default/tumor"
    home.eventually(lambda: home.request(url, "/v1/models/tumor:explain", b"{}")[0] == 200)
    assert pids(home)["predictor"] == before["predictor"]


def test_an_explanation_under_way_is_answered_by_the_old_revision(running: Home) -> None:
    """The predictor of a revision that goes stays until its explainer has gone."""
    folder = running.model("one")
    url = running.deploy(explained(running, folder))["status"]["url"]
    processes = pids(running)
    running.deploy(explained(running, running.model("two")))
    order: list[str] = []

    def both_gone() -> bool:
        living = {process.pid for process in running.living()}
        for component, pid in processes.items():
            if pid not in living and component not in order:
                order.append(component)
        return len(order) == 2

    running.eventually(both_gone)
    assert order == ["explainer", "predictor"]
    assert running.predict(url)["predictions"] == ["two"]


def test_an_explainer_waits_for_a_predictor_that_is_slow(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPORT_ENGINE_STARTUP_DEADLINE", "5")
    home.start()
    ready = home.deploy(explained(home, home.model("slow", ready_after=3.5, explainer_after=3.0)))
    assert home.conditions(ready)["ExplainerReady"] == "True"
