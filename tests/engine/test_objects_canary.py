"""Canaries: `spec.canary[]` with KServe's rules, and what promoting one means."""

from __future__ import annotations

from typing import Any

import pytest

from modelport_engine.errors import InvalidObject
from modelport_engine.objects import read_spec
from modelport_engine.objects.unhonoured import unhonoured


def predictor(folder: str, **more: Any) -> dict[str, Any]:
    return {"sklearn": {"storageUri": folder}, **more}


def canary(percent: int, folder: str = "/two", **more: Any) -> dict[str, Any]:
    return {"trafficPercent": percent, "predictor": predictor(folder, **{"name": "v2", **more})}


def spec(*entries: dict[str, Any], **stable: Any) -> dict[str, Any]:
    return {"predictor": predictor("/one", **stable), "canary": list(entries)}


def test_a_canary_is_a_track_of_its_own() -> None:
    front = {"containers": [{"name": "c", "command": ["serve"], "env": []}]}
    parsed = read_spec({**spec(canary(0), canary(30, "/3", name="v3")), "transformer": front})
    first, second = parsed.canaries
    assert (first.name, first.percent, first.replicas) == ("v2", 0, 1)
    assert (second.name, second.percent) == ("v3", 30)
    assert second.template["model"]["storageUri"] == "/3"
    assert second.template["transformer"] == parsed.template["transformer"]
    assert parsed.storage_uris == ["/one", "/two", "/3"]
    assert parsed.canary_percent is None


def test_promoting_makes_no_other_template() -> None:
    batcher = {"maxBatchSize": 4}
    before = read_spec(spec(canary(20, batcher=batcher), name="v1", minReplicas=2, timeout=9))
    promoted = read_spec({"predictor": predictor("/two", name="v2", batcher=batcher)})
    assert promoted.template == before.canaries[0].template
    assert promoted.template != before.template


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (spec(canary(50), canary(51, name="v3")), "add up to 101"),
        (spec(canary(101)), r"canary\[0\].trafficPercent is wrong"),
        (spec(canary(-1)), r"canary\[0\].trafficPercent is wrong"),
        (spec({"predictor": predictor("/two", name="v2")}), "trafficPercent is wrong: it is req"),
        (spec(canary(5, name=None)), r"canary\[0\].predictor.name is missing"),
        (spec(canary(5, name="V2")), r"canary\[0\].predictor.name is wrong"),
        (spec(canary(5, name="a/b")), r"canary\[0\].predictor.name is wrong"),
        (spec(canary(5), canary(5)), r"canary\[1\].predictor.name 'v2' is another predictor's"),
        (spec(canary(5), name="v2"), r"canary\[0\].predictor.name 'v2' is another predictor's"),
        (spec(canary(5), canaryTrafficPercent=5), "exclude each other"),
        (spec(canary(5, maxReplicas=2)), "maxReplicas is not allowed in a canary"),
        (spec(canary(5, scaleTarget=2)), "scaleTarget is not allowed in a canary"),
        (spec(canary(5, scaleMetric="rps")), "scaleMetric is not allowed in a canary"),
        (spec(canary(5, autoScaling={})), "autoScaling is not allowed in a canary"),
        (spec(canary(5, workerSpec={})), "workerSpec is not allowed in a canary"),
        (spec(canary(5, canaryTrafficPercent=5)), "canaryTrafficPercent is not allowed"),
        (spec(canary(5, minReplicas=2)), "minReplicas 2 is above the stable predictor's 1"),
        (spec(canary(5, "gs://b/m")), r"canary\[0\].predictor.sklearn.storageUri 'gs://b/m' is no"),
        (spec({"trafficPercent": 5, "predictor": {"name": "a"}}), r"predictor.model is missing"),
    ],
)
def test_what_is_wrong_with_a_canary(written: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidObject, match=words):
        read_spec(written)


def test_what_a_canary_cannot_have_of_its_own_is_named() -> None:
    written = spec(canary(5, timeout=3, containerConcurrency=2, minReplicas=1), minReplicas=0)
    assert unhonoured({}, written, read_spec(written)) == (
        "spec.canary[0].predictor.containerConcurrency (the stable predictor's holds)",
        "spec.canary[0].predictor.timeout (the stable predictor's holds)",
        "spec.predictor.minReplicas: 0 (one replica stays)",
    )
