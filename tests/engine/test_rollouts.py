"""Traffic in parts, and the ways back: canaries, promotion, rollback, stop and start."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from modelport_engine.errors import InvalidObject, NotFound, RevisionFailed
from modelport_engine.replicas.processes import is_alive

if TYPE_CHECKING:
    from tests.engine.conftest import Home

STOP = "serving.kserve.io/stop"


def answers(home: Home, url: str, count: int = 200, **headers: str) -> Counter[str]:
    """Ask often and count who answered."""
    return Counter(home.predict(url, headers)["predictions"][0] for _ in range(count))


def traffic(document: dict[str, Any]) -> dict[str, int]:
    shares = document["status"]["components"]["predictor"].get("traffic", ())
    return {share["revisionName"][-1]: share["percent"] for share in shares}


def reasons(home: Home, name: str = "tumor") -> list[str]:
    return [event["reason"] for event in home.client.events(name)["items"]]


def test_a_share_grows_step_by_step_and_loses_no_request(running: Home) -> None:
    one, two = running.model("one"), running.model("two")
    url = running.deploy(running.service(one))["status"]["url"]
    with running.load(url) as load:
        begun = running.deploy(running.service(two, canaryTrafficPercent=20))
        assert traffic(begun) == {"1": 80, "2": 20}
        assert begun["status"]["components"]["predictor"]["latestRolledoutRevision"][-1] == "1"
        seen = answers(running, url)
        assert 10 <= seen["two"] <= 80
        running.deploy(running.service(two, canaryTrafficPercent=80))
        seen = answers(running, url)
        assert 120 <= seen["two"] <= 190
        done = running.deploy(running.service(two, canaryTrafficPercent=100))
        assert traffic(done) == {"2": 100}
        assert answers(running, url, 50) == {"two": 50}
    assert load.failures == []
    assert done["status"]["components"]["predictor"]["previousRolledoutRevision"][-1] == "1"
    assert reasons(running).count("RevisionCreated") == 2


def test_no_share_is_a_dark_launch_and_the_way_back(running: Home) -> None:
    one, two = running.model("one"), running.model("two")
    url = running.deploy(running.service(one))["status"]["url"]
    dark = running.deploy(running.service(two, canaryTrafficPercent=0))
    assert traffic(dark) == {"1": 100}
    assert answers(running, url, 30) == {"one": 30}
    gateway = f"http://127.0.0.1:{running.port}"
    revision = f"{gateway}/revisions/default/tumor-predictor-00002"
    assert running.predict(revision)["predictions"] == ["two"]
    back = running.deploy(running.service(one))
    assert traffic(back) == {"1": 100}
    running.eventually(lambda: running.request(revision, "/v1/models/tumor")[0] == 503)


def test_a_share_that_does_not_start_takes_nothing(running: Home) -> None:
    one = running.model("one")
    url = running.deploy(running.service(one))["status"]["url"]
    broken = running.model("broken", fail="no such operator")
    with pytest.raises(RevisionFailed, match="no such operator"):
        running.deploy(running.service(broken, canaryTrafficPercent=50))
    assert traffic(running.client.get("tumor")) == {"1": 100}
    assert answers(running, url, 20) == {"one": 20}


def test_a_session_stays_with_its_revision_as_the_share_grows(running: Home) -> None:
    one, two = running.model("one"), running.model("two")
    url = running.deploy(running.service(one))["status"]["url"]
    running.deploy(running.service(two, canaryTrafficPercent=30))
    sessions = [f"user-{number}" for number in range(40)]
    first = {who: answers(running, url, 5, **{"Modelport-Session": who}) for who in sessions}
    assert all(len(seen) == 1 for seen in first.values())
    before = {who for who, seen in first.items() if seen["two"]}
    assert 0 < len(before) < 40
    running.deploy(running.service(two, canaryTrafficPercent=70))
    grown = {
        who for who in sessions if answers(running, url, 2, **{"Modelport-Session": who})["two"]
    }
    assert before < grown


def with_canaries(document: dict[str, Any], **canaries: tuple[int, dict[str, Any]]) -> Any:
    """Add `spec.canary`: a share and a service whose predictor it has, by name."""
    entries = [
        {"trafficPercent": percent, "predictor": {**other["spec"]["predictor"], "name": name}}
        for name, (percent, other) in canaries.items()
    ]
    return {**document, "spec": {**document["spec"], "canary": entries}}


def test_named_canaries_are_promoted_without_starting_anew(running: Home) -> None:
    one, two, three = (running.model(name) for name in ("one", "two", "three"))
    url = running.deploy(running.service(one))["status"]["url"]
    with running.load(url) as load:
        both = with_canaries(
            running.service(one), v2=(30, running.service(two)), v3=(0, running.service(three))
        )
        begun = running.deploy(both)
        assert [
            (canary["name"], canary["ready"], canary["trafficPercent"])
            for canary in begun["status"]["canaryStatuses"]
        ] == [("v2", True, 30), ("v3", True, 0)]
        assert running.conditions(begun)["CanaryPredictorReady"] == "True"
        seen = answers(running, url)
        assert (seen["three"], 30 <= seen["two"] <= 110) == (0, True)
        pids = {item["revision"]: item["pid"] for item in running.client.replicas("tumor")["items"]}
        document = running.service(two)
        document["spec"]["predictor"]["name"] = "v2"
        promoted = running.deploy(document)
        assert traffic(promoted) == {"2": 100}
        assert answers(running, url, 30) == {"two": 30}
    assert load.failures == []
    assert "canaryStatuses" not in promoted["status"]
    running.eventually(lambda: len(running.client.replicas("tumor")["items"]) == 1)
    assert [item["pid"] for item in running.client.replicas("tumor")["items"]] == [
        pids["tumor-predictor-00002"]
    ]


def test_a_canary_that_does_not_load_is_said_so_and_the_service_stays_ready(running: Home) -> None:
    one = running.model("one")
    url = running.deploy(running.service(one))["status"]["url"]
    broken = running.service(running.model("broken", fail="no such operator"))
    with pytest.raises(RevisionFailed, match="no such operator"):
        running.deploy(with_canaries(running.service(one), v2=(30, broken)))
    now = running.client.get("tumor")
    assert running.conditions(now)["Ready"] == "True"
    assert running.conditions(now)["CanaryPredictorReady"] == "False"
    canary = now["status"]["canaryStatuses"][0]
    assert canary["modelStatus"]["lastFailureInfo"]["reason"] == "ModelLoadFailed"
    assert answers(running, url, 20) == {"one": 20}
    running.deploy(running.service(one))


def test_both_ways_to_part_the_traffic_at_once_are_refused(running: Home) -> None:
    one = running.service(running.model("one"))
    sharing = running.service(running.model("two"), canaryTrafficPercent=10)
    with pytest.raises(InvalidObject, match="canaryTrafficPercent"):
        running.client.apply(with_canaries(sharing, v2=(10, one)))


def test_rolling_back_to_any_kept_revision(running: Home) -> None:
    models = [running.model(name) for name in ("one", "two", "three")]
    for model in models:
        url = running.deploy(running.service(model, timeout=7))["status"]["url"]
    assert running.predict(url)["predictions"] == ["three"]

    with running.load(url) as load:
        applied = running.client.rollback("tumor")
        back = running.client.wait_ready("tumor", generation=applied["metadata"]["generation"])
        assert traffic(back) == {"2": 100}
        applied = running.client.rollback("tumor", revision=1)
        first = running.client.wait_ready("tumor", generation=applied["metadata"]["generation"])
        assert running.predict(url)["predictions"] == ["one"]
    assert load.failures == []
    assert traffic(first) == {"1": 100}
    assert first["spec"]["predictor"]["timeout"] == 7
    assert first["status"]["components"]["predictor"]["latestCreatedRevision"][-1] == "1"

    listed = running.client.revisions("tumor")["items"]
    assert [(item["revision"], item["state"], item["traffic"]) for item in listed] == [
        (1, "Ready", 100),
        (2, "Ready", 0),
        (3, "Ready", 0),
    ]
    with pytest.raises(RevisionFailed):
        running.deploy(running.service(running.model("broken", fail="no such operator")))
    running.client.rollback("tumor")
    assert traffic(running.client.wait_ready("tumor")) == {"1": 100}
    with pytest.raises(NotFound, match="revision 9"):
        running.client.rollback("tumor", revision=9)
    with pytest.raises(NotFound):
        running.client.rollback("nobody")


def test_rolling_back_to_a_canary_s_revision(running: Home) -> None:
    one, two = running.service(running.model("one")), running.service(running.model("two"))
    url = running.deploy(with_canaries(one, v2=(0, two)))["status"]["url"]
    running.deploy(one)
    applied = running.client.rollback("tumor", revision=2)
    running.client.wait_ready("tumor", generation=applied["metadata"]["generation"])
    assert running.predict(url)["predictions"] == ["two"]


def test_a_stopped_service_runs_nothing_and_starts_again(running: Home) -> None:
    document = running.service(running.model("one"))
    url = running.deploy(document)["status"]["url"]
    pid = running.predict(url)["pid"]
    metadata = {**document["metadata"], "annotations": {STOP: "true"}}
    stopped = running.deploy({**document, "metadata": metadata})
    assert running.conditions(stopped)["Stopped"] == "True"
    running.eventually(lambda: not is_alive(pid))
    status, answer = running.request(url, "/v1/models/tumor:predict", b"{}")
    assert (status, "modelport start tumor" in answer["error"]) == (503, True)
    running.eventually(lambda: running.client.replicas("tumor")["items"] == [])

    started = running.deploy(document)
    assert running.conditions(started)["Stopped"] == "False"
    assert running.predict(url)["predictions"] == ["one"]
    assert traffic(started) == {"1": 100}
    assert {"Stopped", "Started"} <= set(reasons(running))


def test_a_transformer_is_asked_first_and_asks_its_own_predictor(running: Home) -> None:
    one, two = running.model("one"), running.model("two")
    document = running.service(one)
    document["spec"]["transformer"] = {"containers": [running.transformer(one)]}
    ready = running.deploy(document)
    assert running.conditions(ready)["TransformerReady"] == "True"
    url = ready["status"]["url"]
    answer = running.predict(url)
    assert answer["transformed"]["predictions"] == ["one"]
    with running.load(url) as load:
        document["spec"]["predictor"]["model"]["storageUri"] = f"file://{two}"
        running.deploy(document)
        running.eventually(lambda: "two" in load.answers)
    assert load.failures == []


def test_what_happened_is_told(running: Home) -> None:
    running.deploy(running.service(running.model("one")))
    broken = running.model("broken", fail="no such operator")
    with pytest.raises(RevisionFailed):
        running.deploy(running.service(broken))
    told = running.client.events("tumor")["items"]
    assert {event["reason"] for event in told} >= {
        *("Created", "RevisionCreated", "RevisionReady", "TrafficMoved"),
        *("Updated", "ReplicaFailed", "RevisionFailed"),
    }
    failed = next(event for event in told if event["reason"] == "RevisionFailed")
    assert (failed["type"], failed["involvedObject"]["name"]) == ("Warning", "tumor")
    assert "no such operator" in failed["message"]
    assert running.client.events(namespace="elsewhere")["items"] == []
