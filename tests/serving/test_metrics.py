from __future__ import annotations

import math
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from modelport_serving.errors import StartFailed
from modelport_serving.metrics import Metrics, shared_directory
from modelport_serving.metrics.cells import SECONDS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in prometheus(text.decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample of what a scrape shows; None when it is not there."""
    body, _ = metrics.expose()
    return samples(body).get((name, frozenset(labels.items())))


@pytest.fixture
def directory() -> Iterator[Path]:
    with shared_directory() as made:
        yield made


def test_shows_what_prometheus_client_would_show() -> None:
    random.seed(1)
    # Bounds themselves, what lies between them, nothing, and more than the last.
    times = [*SECONDS, *(10 ** random.uniform(-7, 2) for _ in range(500)), 0.0, 1e9]
    requests = [tuple(seconds * factor for factor in (1, 2, 3, 4)) for seconds in times]
    registry = CollectorRegistry()
    names = ("request_preprocess_seconds", "request_predict_seconds", "request_postprocess_seconds")
    theirs = {
        name: Histogram(name, "x", ["model_name"], registry=registry, buckets=SECONDS).labels("m")
        for name in names
    }
    total = Histogram(
        "kserve_prediction_latency_seconds",
        "x",
        ["model_name", "protocol"],
        registry=registry,
        buckets=SECONDS,
    )
    metrics = Metrics()
    ours = metrics.model("m")
    for at, four in enumerate(requests):
        protocol = ("v1", "v2", "grpc")[at % 3]
        ours.arrived()
        ours.answered(protocol, *four)
        for name, one in zip(names, four[:3], strict=True):
            theirs[name].observe(one)
        total.labels("m", protocol).observe(four[3])
    shown = samples(metrics.expose()[0])
    expected = {
        key: count
        for key, count in samples(generate_latest(registry)).items()
        if not key[0].endswith("_created")
    }
    assert len(expected) == 6 * (len(SECONDS) + 3)
    assert {key: shown.get(key) for key in expected} == pytest.approx(expected)


def test_keeps_the_buckets_of_kserve() -> None:
    # KServe takes prometheus_client's defaults: dashboards and rules may name them.
    assert {bound for bound in Histogram.DEFAULT_BUCKETS if bound != math.inf} <= set(SECONDS)


def test_counts_requests_by_code() -> None:
    metrics = Metrics()
    model = metrics.model("m")
    model.answered("v2", 1e-5, 1e-5, 1e-5, 1e-4)
    model.finished("v2", 1e-4)
    model.explained("v1")
    model.failed("v2", 503)
    model.failed("v2", 503)
    model.answered("grpc", 1e-5, 1e-5, 1e-5, 1e-4)
    model.explained("grpc")
    model.failed("grpc", 3)
    model.failed("grpc", 99)
    metrics.unmatched("v1", 404)
    counted = {
        tuple(dict(labels)[name] for name in ("model_name", "protocol", "code")): count
        for (name, labels), count in samples(metrics.expose()[0]).items()
        if name == "modelport_requests_total"
    }
    assert counted == {
        ("m", "v1", "200"): 1,
        ("m", "v2", "200"): 2,
        ("m", "v2", "503"): 2,
        ("m", "grpc", "OK"): 2,
        ("m", "grpc", "INVALID_ARGUMENT"): 1,
        ("m", "grpc", "99"): 1,
        ("", "v1", "404"): 1,
    }


def test_counts_no_code_into_its_neighbour() -> None:
    metrics = Metrics()
    metrics.model("m").failed("v1", 1000)
    assert (
        value(metrics, "modelport_requests_total", model_name="m", protocol="v1", code="599") == 1
    )
    assert "v2" not in metrics.expose()[0].decode()


def test_shows_the_rest() -> None:
    metrics = Metrics()
    model = metrics.model("m", "3")
    model.arrived()
    model.arrived()
    model.failed("v1", 400)
    model.queued += 5
    model.queued -= 2
    model.batched(16, 0.002)
    model.batched(5000, 0.2)
    model.observe("explain", 0.5)
    model.cache_hit()
    model.cache_hit()
    model.cache_miss()
    metrics.cache_bytes = 4096
    metrics.dropped("log_records")
    shown = {
        (name, dict(labels).get("le")): count
        for (name, labels), count in samples(metrics.expose()[0]).items()
    }
    assert shown["modelport_requests_in_flight", None] == 1
    assert shown["modelport_queue_length", None] == model.queued == 3
    assert shown["modelport_batch_rows_bucket", "8.0"] == 0
    assert shown["modelport_batch_rows_bucket", "16.0"] == 1
    assert shown["modelport_batch_rows_bucket", "+Inf"] == 2
    assert shown["modelport_batch_rows_sum", None] == 5016
    assert shown["modelport_queue_wait_seconds_count", None] == 2
    assert shown["modelport_queue_wait_seconds_sum", None] == pytest.approx(0.202)
    assert shown["request_explain_seconds_sum", None] == 0.5
    assert shown["modelport_cache_hits_total", None] == 2
    assert shown["modelport_cache_misses_total", None] == 1
    assert shown["modelport_cache_bytes", None] == metrics.cache_bytes == 4096
    assert value(metrics, "modelport_dropped_total", what="log_records") == 1
    assert value(metrics, "modelport_dropped_total", what="payload_events") == 0


def test_speaks_openmetrics_to_those_who_ask() -> None:
    metrics = Metrics()
    metrics.model("m").answered("v2", 1e-5, 1e-5, 1e-5, 1e-4)
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    body, content_type = metrics.expose(asked)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in open_metrics(body.decode())}
    assert families["request_predict_seconds"].type == "histogram"
    assert families["modelport_build"].type == "info"
    body, content_type = metrics.expose("*/*")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"modelport_requests_total" in body


def test_keeps_any_model_name_apart() -> None:
    with shared_directory() as directory:
        metrics = Metrics(directory)
        names = ["../escape", "a" * 300, 'quo"te\n', "größe", "m"]
        for count, name in enumerate(names, 1):
            for _ in range(count):
                metrics.model(name).failed("v2", 400)
        # The text format escapes, its parser undoes it.
        assert [
            value(metrics, "modelport_requests_total", model_name=name, protocol="v2", code="400")
            for name in names
        ] == [1, 2, 3, 4, 5]
        assert {path.parent for path in directory.rglob("*")} == {directory}


def test_adds_up_workers_and_versions(directory: Path) -> None:
    first, second = Metrics(directory, 1), Metrics(directory, 2)
    first.model("m", "1").answered("v2", 0.1, 0.2, 0.3, 0.6)
    first.model("m", "2").answered("v2", 0.1, 0.2, 0.3, 0.6)
    second.model("m", "1").answered("v2", 0.1, 0.2, 0.3, 0.6)
    first.model("m", "1").loaded(1.5)
    second.model("m", "1").loaded(2.5)
    second.model("m", "2").warmed_up(0.25)
    first.model("m", "1").queued = 2
    second.model("m", "1").queued = 3
    first.cache_bytes = 10
    second.cache_bytes = 20
    for either in (first, second):
        assert value(either, "request_predict_seconds_count", model_name="m") == 3
        assert value(either, "request_predict_seconds_sum", model_name="m") == pytest.approx(0.6)
        assert value(either, "modelport_queue_length", model_name="m") == 5
        assert value(either, "modelport_cache_bytes") == 30
        load = "modelport_model_load_seconds"
        assert value(either, load, model_name="m", model_version="1") == 2.5
        warm_up = "modelport_model_warm_up_seconds"
        assert value(either, warm_up, model_name="m", model_version="2") == 0.25


def test_keeps_the_counters_of_an_unloaded_model(directory: Path) -> None:
    metrics = Metrics(directory)
    metrics.model("m", "1").failed("v1", 500)
    again = metrics.model("m", "1")
    again.failed("v1", 500)
    assert again is metrics.model("m", "1")
    assert (
        value(metrics, "modelport_requests_total", model_name="m", protocol="v1", code="500") == 2
    )


_WORKER = """
import sys, time
from pathlib import Path
from modelport_serving.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]), int(sys.argv[2]))
model = metrics.model("m", "1")
for _ in range(1000):
    model.arrived()
    model.answered("v2", 1e-5, 2e-5, 3e-5, 1e-4)
for _ in range(7):
    model.arrived()
model.queued = 4
metrics.cache_bytes = 100
print("counted", flush=True)
time.sleep(600)
"""


def _worker(directory: Path, slot: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(directory), str(slot)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_outlives_a_worker_that_is_killed(directory: Path) -> None:
    other = Metrics(directory, 2)
    count = "kserve_prediction_latency_seconds_count"
    labels = {"model_name": "m", "protocol": "v2"}
    worker = _worker(directory, 1)
    try:
        assert value(other, count, **labels) == 1000
        assert value(other, "modelport_requests_in_flight", model_name="m") == 7
        assert value(other, "modelport_queue_length", model_name="m") == 4
        # Each worker's own process, whoever is asked.
        memory = "process_resident_memory_bytes"
        assert value(other, memory, worker="1")
        assert value(other, memory, worker="2")
    finally:
        _kill(worker)
    assert value(other, count, **labels) == 1000
    assert value(other, memory, worker="1") is None

    successor = Metrics(directory, 1)
    assert value(other, count, **labels) == 1000
    assert value(other, "modelport_requests_in_flight", model_name="m") == 0
    assert value(other, "modelport_queue_length", model_name="m") == 0
    assert value(other, "modelport_cache_bytes") == 0
    successor.model("m", "1").arrived()
    successor.model("m", "1").answered("v2", 1e-5, 2e-5, 3e-5, 1e-4)
    assert value(other, count, **labels) == 1001
    assert value(other, "modelport_requests_in_flight", model_name="m") == 0
    assert value(other, memory, worker="1")


def test_leaves_the_other_slots_alone(directory: Path) -> None:
    worker = _worker(directory, 1)
    try:
        # Slot 11's file names begin like slot 1's.
        for slot in (2, 11):
            newcomer = Metrics(directory, slot)
        assert value(newcomer, "modelport_requests_in_flight", model_name="m") == 7
    finally:
        _kill(worker)


def test_files_are_for_the_owner_alone_and_go_with_the_directory() -> None:
    with shared_directory() as directory:
        before = os.umask(0)
        try:
            Metrics(directory).model("m", "1")
        finally:
            os.umask(before)
        files = list(directory.iterdir())
        assert len(files) == 2
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not directory.exists()


def test_says_that_there_is_no_room(directory: Path) -> None:
    directory.rmdir()
    with pytest.raises(StartFailed, match=f"no room for metrics in {directory}"):
        Metrics(directory)


def test_counting_needs_no_prometheus_client() -> None:
    code = """
import sys
from modelport_serving.metrics import Metrics
metrics = Metrics()
metrics.model("m").answered("v2", 1e-5, 1e-5, 1e-5, 1e-4)
assert "prometheus_client" not in sys.modules
metrics.expose()
assert "prometheus_client" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
