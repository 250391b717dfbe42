from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from modelport_serving import tracing
from modelport_serving.tracing.spans import Stage, Times, Tracer

sink = runpy.run_path(str(Path(__file__).with_name("sinks.py")))["sink"]

CALLER_TRACE, CALLER_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"
NOT_SAMPLED = f"00-{CALLER_TRACE}-{CALLER_SPAN}-00"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector() -> Iterator[Any]:
    with sink() as server:
        yield server


def begun(endpoint: str | None, service_name: str = "tumor") -> Tracer:
    tracer = tracing.start(endpoint, service_name)
    assert tracer is not None
    return tracer


def requests(collector: Any) -> list[ExportTraceServiceRequest]:
    return [ExportTraceServiceRequest.FromString(one.body) for one in collector.received]


def spans(collector: Any) -> dict[str, Any]:
    """What the collector was sent, by span name."""
    return {
        span.name: span
        for request in requests(collector)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def attributes(owner: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in owner.attributes}


def test_is_off_unless_asked_for() -> None:
    assert tracing.start(None, "tumor") is None
    code = """
import sys
from modelport_serving import tracing
assert tracing.start(None, "tumor") is None
assert not any(name.startswith("opentelemetry") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_is_off_where_opentelemetry_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert tracing.start("http://127.0.0.1:1", "tumor") is None


def test_sends_a_request_with_its_stages(collector: Any) -> None:
    tracer = begun(collector.url)
    before = time.time_ns()
    started = time.perf_counter()
    trace = tracer.begin(SAMPLED, "vendor=1")
    ended = time.perf_counter()
    tracer.http(
        trace,
        "POST",
        "/v2/models/{model_name}/infer",
        200,
        Times(started, ended),
        [
            Stage("queue", Times(started, ended)),
            Stage("model", Times(started, ended), {"modelport.batch.rows": 3}),
        ],
        {"modelport.model.name": "tumor"},
    )
    after = time.time_ns()
    tracer.close(10)

    assert {one.path for one in collector.received} == {"/v1/traces"}
    assert collector.received[0].headers["content-type"] == "application/x-protobuf"
    (resource,) = requests(collector)[0].resource_spans
    assert attributes(resource.resource)["service.name"] == "tumor"

    sent = spans(collector)
    server = sent["POST /v2/models/{model_name}/infer"]
    assert server.kind == server.SPAN_KIND_SERVER
    assert server.trace_id.hex() == CALLER_TRACE
    assert server.parent_span_id.hex() == CALLER_SPAN
    assert server.trace_state == "vendor=1"
    assert server.status.code == server.status.STATUS_CODE_UNSET
    assert attributes(server) == {
        "http.request.method": "POST",
        "http.route": "/v2/models/{model_name}/infer",
        "http.response.status_code": 200,
        "modelport.model.name": "tumor",
    }
    # The two clocks are read one after the other: a little tolerance.
    assert before - 10**7 <= server.start_time_unix_nano
    assert server.start_time_unix_nano <= server.end_time_unix_nano <= after + 10**7
    took = server.end_time_unix_nano - server.start_time_unix_nano
    assert took == pytest.approx((ended - started) * 1e9, abs=1000)

    for name in ("queue", "model"):
        assert sent[name].kind == server.SPAN_KIND_INTERNAL
        assert sent[name].trace_id == server.trace_id
        assert sent[name].parent_span_id == server.span_id
    assert attributes(sent["model"]) == {"modelport.batch.rows": 3}
    assert len({span.span_id for span in sent.values()}) == 3


def test_tells_faults_of_the_server_from_those_of_the_caller(collector: Any) -> None:
    tracer = begun(collector.url)
    times = Times(0.0, 1.0)
    for status in (400, 503):
        tracer.http(tracer.begin(None), "POST", f"/{status}", status, times)
    for code in ("INVALID_ARGUMENT", "INTERNAL"):
        tracer.rpc(tracer.begin(None), f"inference.GRPCInferenceService/{code}", code, times)
    tracer.close(10)
    sent = spans(collector)
    kinds = {
        name: (span.status.code, attributes(span).get("error.type")) for name, span in sent.items()
    }
    assert kinds == {
        "POST /400": (0, None),
        "POST /503": (2, "503"),
        "inference.GRPCInferenceService/INVALID_ARGUMENT": (0, None),
        "inference.GRPCInferenceService/INTERNAL": (2, "INTERNAL"),
    }
    call = attributes(sent["inference.GRPCInferenceService/INTERNAL"])
    assert call["rpc.system.name"] == "grpc"
    assert call["rpc.response.status_code"] == "INTERNAL"


def test_follows_the_callers_sampling(collector: Any) -> None:
    tracer = begun(collector.url)
    for traceparent, name in ((NOT_SAMPLED, "/no"), (SAMPLED, "/yes"), (None, "/new")):
        tracer.http(tracer.begin(traceparent), "POST", name, 200, Times(0.0, 1.0))
    tracer.close(10)
    assert set(spans(collector)) == {"POST /yes", "POST /new"}


@pytest.mark.parametrize(
    "header",
    ["", "nonsense", SAMPLED[:-1], SAMPLED.replace("-", "_"), f"00-{'0' * 32}-{CALLER_SPAN}-01"],
)
def test_begins_a_trace_where_there_is_none(collector: Any, header: str) -> None:
    tracer = begun(collector.url)
    trace = tracer.begin(header)
    tracer.http(trace, "POST", "/", 200, Times(0.0, 1.0))
    tracer.close(10)
    (span,) = spans(collector).values()
    assert span.parent_span_id == b""
    assert span.trace_id.hex() not in (CALLER_TRACE, "0" * 32)


def test_samples_as_the_environment_says(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    tracer = begun(collector.url)
    tracer.http(tracer.begin(None), "POST", "/new", 200, Times(0.0, 1.0))
    tracer.http(tracer.begin(SAMPLED), "POST", "/called", 200, Times(0.0, 1.0))
    tracer.close(10)
    assert set(spans(collector)) == {"POST /called"}


def test_lets_further_calls_join_the_trace(collector: Any) -> None:
    tracer = begun(collector.url)
    for caller, flags in ((SAMPLED, "01"), (NOT_SAMPLED, "00")):
        trace = tracer.begin(caller, "vendor=1")
        onward = tracer.begin(**trace.headers)
        assert trace.headers["traceparent"].endswith(f"-{flags}")
        assert trace.headers["tracestate"] == "vendor=1"
        assert onward.parent is not None
        assert onward.parent.span_id == trace.context.span_id
        assert onward.context.trace_id == int(CALLER_TRACE, 16)
    tracer.close(10)


def test_takes_the_endpoint_from_the_environment(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named-by-the-operator")
    tracer = begun(None)
    tracer.http(tracer.begin(None), "POST", "/", 200, Times(0.0, 1.0))
    tracer.close(10)
    assert collector.received[0].path == "/v1/traces"
    assert collector.received[0].headers["api-key"] == "secret"
    (resource,) = requests(collector)[0].resource_spans
    assert attributes(resource.resource)["service.name"] == "named-by-the-operator"


def test_takes_a_whole_url_too(collector: Any) -> None:
    tracer = begun(f"{collector.url}/prefix/v1/traces/")
    tracer.http(tracer.begin(None), "POST", "/", 200, Times(0.0, 1.0))
    tracer.close(10)
    assert collector.received[0].path == "/prefix/v1/traces"


@pytest.mark.timeout(20)
def test_never_waits_for_a_collector_that_does_not_answer(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    # The exporter waits far longer than this test may take.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    collector.open.clear()
    tracer = begun(collector.url)
    # Many more than the queue takes, and none of them can be sent.
    for _ in range(1000):
        tracer.http(tracer.begin(None), "POST", "/", 200, Times(0.0, 1.0))
    tracer.close(0.1)
    assert len(collector.received) <= 1


def test_does_without_a_collector() -> None:
    with sink() as gone:
        url = gone.url
    tracer = begun(url)
    tracer.http(tracer.begin(None), "POST", "/", 200, Times(0.0, 1.0))
    tracer.close(0.1)


def test_says_which_package_is_missing() -> None:
    code = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.http.trace_exporter"] = None
from modelport_serving import tracing
from modelport_serving.errors import StartFailed
try:
    tracing.start("http://127.0.0.1:1", "tumor")
except StartFailed as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "opentelemetry.exporter" in told.stdout
    assert "pip install 'modelport[tracing]'" in told.stdout
