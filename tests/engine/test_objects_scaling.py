"""Replicas, metrics and quantities, as KServe and Kubernetes write them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport_engine.errors import InvalidObject
from modelport_engine.objects import read_spec
from modelport_engine.objects.quantities import quantity
from modelport_engine.objects.unhonoured import unhonoured
from modelport_engine.scaling.policy import Scale

P99 = (
    'histogram_quantile(0.99, sum by(le)(rate(request_predict_seconds_bucket{model_name="m"}[1m])))'
)


def spec(resources: dict[str, Any] | None = None, **predictor: Any) -> dict[str, Any]:
    model = {"modelFormat": {"name": "onnx"}, "storageUri": "/m", "resources": resources or {}}
    return {"predictor": {"model": model, **predictor}}


def external(query: str, **target: Any) -> dict[str, Any]:
    metric = {"backend": "prometheus", "serverAddress": "http://p", "query": query}
    return {"type": "External", "external": {"metric": metric, "target": target}}


def resource(name: str, **target: Any) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": name, "target": target}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("1", 1),
        (2, 2),
        ("0.2", 0.2),
        (".5", 0.5),
        ("1.", 1),
        ("1Gi", 2**30),
        ("1.5Ki", 1536),
        ("1k", 1000),
        ("1E", 10**18),
        ("1e3", 1000),
        ("1E-3", 0.001),
        ("100n", 1e-7),
        ("0", 0),
    ],
)
def test_a_quantity(text: str | int, value: float) -> None:
    assert quantity(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "1 Gi", "-1", "1gi", "Gi", "1e", "1e9999", "16Ei", "\u0661", "."]
)
def test_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|large"):
        quantity(text)


@given(st.text())
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert quantity(text) >= 0


@pytest.mark.parametrize("amount", [True, 0.5, None, [], "-1", "1e99"])
def test_an_amount_that_is_none_is_refused(amount: Any) -> None:
    with pytest.raises(InvalidObject, match=r"resources.limits.cpu is wrong: write a quantity"):
        read_spec(spec({"limits": {"cpu": amount}}))


@pytest.mark.parametrize(
    ("written", "scale"),
    [
        (spec(), Scale(1, 1, "cpu", 70)),
        (spec(minReplicas=0), Scale(1, 1, "cpu", 70)),
        (spec(minReplicas=2, maxReplicas=0), Scale(2, 2, "cpu", 70)),
        (spec(maxReplicas=4), Scale(1, 4, "cpu", 70)),
        (spec(maxReplicas=4, scaleTarget=50), Scale(1, 4, "cpu", 50)),
        (spec(maxReplicas=4, scaleMetric="concurrency"), Scale(1, 4, "concurrency", 100)),
        (spec(maxReplicas=4, scaleMetric="rps"), Scale(1, 4, "rps", 200)),
        (spec(maxReplicas=4, scaleMetric="rps", scaleTarget=7), Scale(1, 4, "rps", 7)),
        (spec({"limits": {"cpu": 2}}), Scale(1, 1, "cpu", 70, cores=2)),
        (
            spec({"limits": {"cpu": 2}, "requests": {"cpu": "500m"}}),
            Scale(1, 1, "cpu", 70, cores=0.5),
        ),
        (
            spec({"limits": {"memory": "1Gi"}}, maxReplicas=2, scaleMetric="memory"),
            Scale(1, 2, "memory", 80, memory_bytes=2**30),
        ),
        (
            spec(maxReplicas=2, autoScaling={"metrics": [resource("cpu", averageUtilization=50)]}),
            Scale(1, 2, "cpu", 50),
        ),
        (
            spec(maxReplicas=2, autoScaling={"metrics": [resource("cpu", averageValue="500m")]}),
            Scale(1, 2, "cpu", 100, cores=0.5),
        ),
        (
            spec(maxReplicas=2, autoScaling={"metrics": [resource("memory", averageValue="1Ki")]}),
            Scale(1, 2, "memory", 100, memory_bytes=1024),
        ),
        (
            spec(maxReplicas=2, autoScaling={"metrics": [external(P99, value="300m")]}),
            Scale(1, 2, "latency", 0.3),
        ),
        (
            spec(maxReplicas=2, autoScaling={"metrics": [external(P99)]}),
            Scale(1, 2, "latency", 0.2),
        ),
        (
            spec(maxReplicas=2, autoScaling={"metrics": [external("up", value=1)]}),
            Scale(1, 2, "cpu", 70),
        ),
    ],
)
def test_what_a_component_is_scaled_by(written: dict[str, Any], scale: Scale) -> None:
    assert read_spec(written).scales == {"predictor": scale}


def test_a_pod_metric_is_a_latency_as_well() -> None:
    metric = {"backend": "opentelemetry", "query": P99.replace("0.99", ".990")}
    pods = {"type": "PodMetric", "podmetric": {"metric": metric, "target": {"value": "1"}}}
    scales = read_spec(spec(maxReplicas=2, autoScaling={"metrics": [pods]})).scales
    assert scales["predictor"] == Scale(1, 2, "latency", 1)


@pytest.mark.parametrize(
    "query", ["", "up", P99.replace("0.99", "0.9"), P99.replace("request_predict", "queue")]
)
def test_another_query_is_not_measured(query: str) -> None:
    written = spec(
        maxReplicas=2,
        scaleMetricType="Utilization",
        autoScaling={"metrics": [external(query, type="Value", value="1")]},
    )
    assert unhonoured({}, written, read_spec(written)) == (
        "spec.predictor.autoScaling.metrics[0]"
        " (only cpu, memory and the 99th percentile of request_predict_seconds are measured)",
        "spec.predictor.autoScaling.metrics[0].external.metric.backend"
        " (the engine measures by itself)",
        "spec.predictor.autoScaling.metrics[0].external.metric.serverAddress"
        " (the engine measures by itself)",
    )


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (
            spec(scaleTarget=5, autoScaling={}),
            (
                "spec.predictor.autoScaling (maxReplicas is not above minReplicas)",
                "spec.predictor.scaleTarget (maxReplicas is not above minReplicas)",
            ),
        ),
        (
            spec(
                maxReplicas=2,
                scaleMetric="rps",
                autoScaling={"metrics": [resource("cpu"), resource("cpu")], "behavior": {}},
            ),
            (
                "spec.predictor.autoScaling.behavior",
                "spec.predictor.autoScaling.metrics[1] (the first one decides)",
                "spec.predictor.scaleMetric (autoScaling decides)",
            ),
        ),
        (
            spec(maxReplicas=2, scaleMetric="memory", scaleMetricType="AverageValue"),
            (
                "spec.predictor.maxReplicas (no memory is requested, so none is per cent of it)",
                "spec.predictor.scaleMetricType (memory is per cent of what is requested)",
            ),
        ),
    ],
)
def test_what_does_not_scale_is_named(written: dict[str, Any], named: tuple[str, ...]) -> None:
    assert unhonoured({}, written, read_spec(written)) == named


def test_each_component_is_scaled_by_its_own_fields() -> None:
    container = {
        "name": "kserve-container",
        "command": ["serve"],
        "resources": {"limits": {"cpu": 3}},
    }
    transformer = {"containers": [container], "minReplicas": 2, "maxReplicas": 5}
    parsed = read_spec({**spec(), "transformer": transformer})
    assert parsed.scales == {
        "predictor": Scale(1, 1, "cpu", 70),
        "transformer": Scale(2, 5, "cpu", 70, cores=3),
    }
    assert parsed.replicas == {"predictor": 1, "transformer": 2}
