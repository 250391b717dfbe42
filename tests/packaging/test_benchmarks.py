"""The benchmark: real loads on real servers, short ones; its figures are nobody's concern here."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import load, protocols, servers, soak, table  # noqa: E402
from benchmarks.models import Forest  # noqa: E402

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("wrk", "h2load", "taskset")),
    reason="the load generators are not installed: apt-get install wrk nghttp2-client",
)
FOREST = Forest(Path(), Path(), [0.5] * 30, 1, [0.25, 0.75])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(autouse=True)
def own_home(monkeypatch, home):
    monkeypatch.setenv("MODELPORT_BENCH", str(home))


def bench(*arguments):
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def results(home, scenario):
    return json.loads((home / "results" / f"{scenario}.json").read_text())


@contextmanager
def answering(status, body):
    """Serve one answer over HTTP, whatever is asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextmanager
def calling(answer):
    """Serve `ModelInfer` over gRPC."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, _):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


def v2_answer(label, probabilities):
    outputs = [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [label]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": probabilities},
    ]
    return json.dumps({"outputs": outputs}).encode()


def test_the_runtime_has_figures_for_every_protocol(home):
    done = bench("comparison", "--quick", "--seconds", "1", "--connections", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = results(home, "comparison")["rows"]
    ours = {row["protocol"]: row for row in rows if row["server"] == "Modelport"}
    assert set(ours) == {"V1", "V2", "V2 binary", "gRPC"}
    for row in ours.values():
        assert row["problem"] is None
        assert row["per_second"]["4"] > 0
        assert 0 < row["p50_ms"]["4"] <= row["p99_ms"]["4"]
        assert row["cpu_us"] > 0
        assert row["memory_mb"] > 10
    assert ours["V2"]["start_seconds"] > 0
    absent = [row for row in rows if row["server"] != "Modelport"]
    assert absent
    assert {row["problem"] for row in absent} == {"is not installed here"}
    assert "| KServe ModelServer | V2 | no figures: is not installed here |" in done.stdout


def test_the_other_scenarios_measure_the_runtime(home):
    quick = ("--quick", "--seconds", "1", "--connections", "4")
    for scenario in ("scaling", "decoding"):
        done = bench(scenario, *quick)
        assert done.returncode == 0, done.stdout + done.stderr
    points = results(home, "scaling")["by_connections"]
    assert [point["connections"] for point in points] == [4]
    workers = results(home, "scaling")["by_workers"]
    assert len(workers) == len(os.sched_getaffinity(0))
    assert results(home, "decoding")["ratio"] > 0


def test_a_soak_reads_memory_and_latency_per_window(home):
    done = bench("soak", "--soak-seconds", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    soaked = results(home, "soak")
    assert len(soaked["windows"]) == 3
    for window in soaked["windows"]:
        # The rate is kept, or the machine is too busy to keep it; never more.
        assert 0 < window["per_second"] < 0.6 * soaked["peak_per_second"]
        assert window["memory_mb"] > 10


def test_memory_that_grows_is_not_flat():
    def windows(*memories):
        return [{"p99_ms": 1.0, "memory_mb": memory} for memory in memories]

    assert soak.verdict(windows(90, 100, 100, 100, 100, 100))["flat"]
    assert not soak.verdict(windows(100, 100, 105, 110, 115, 120))["flat"]


def test_latency_that_grows_is_not_flat():
    windows = [{"p99_ms": p99, "memory_mb": 100.0} for p99 in (1.0, 1.0, 1.0, 1.0, 2.0, 2.0)]
    assert not soak.verdict(windows)["flat"]


def test_a_wrong_answer_is_found():
    request = protocols.v2(FOREST)
    with answering(200, v2_answer(1, [0.25, 0.75])) as port:
        servers.ask(port, request)
    for body in (v2_answer(1, [0.3, 0.7]), v2_answer(0, [0.25, 0.75]), b"{}", b"no JSON"):
        with answering(200, body) as port, pytest.raises(servers.ServerFailed, match="wrong"):
            servers.ask(port, request)


def test_failed_requests_void_a_measurement_over_http():
    request = protocols.v2(FOREST)
    with answering(503, b"") as port, pytest.raises(load.LoadFailed, match="status"):
        load.measure(port, request, 2, 1)
    body = v2_answer(1, [0.25, 0.75])
    with answering(200, body) as port:
        seen = load.measure(port, request, 2, 1)
    assert seen.requests > 0


def test_failed_calls_void_a_measurement_over_grpc():
    """An error is an HTTP 200 too."""
    request = protocols.grpc(FOREST)
    calls = []

    def answer(_, context):
        calls.append(1)
        if len(calls) > 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "enough")
        return b"x" * 100

    with calling(answer) as port, pytest.raises(load.LoadFailed, match="bytes came"):
        load.measure(port, request, 2, 1)
    with calling(lambda *_: b"x" * 100) as port:
        assert load.measure(port, request, 2, 1).requests > 0


def test_every_rival_pins_its_requirements():
    files = sorted((ROOT / "benchmarks" / "rivals").glob("*/requirements.txt"))
    assert len(files) == 8
    for file in files:
        pins = [line for line in file.read_text().splitlines() if not line.startswith("#")]
        assert all("==" in pin for pin in pins), file


def test_the_readme_gets_its_section_and_keeps_the_rest(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{table.START}\nold\n{table.END}\nbelow\n")
    table.write(readme, "new")
    assert readme.read_text() == f"above\n{table.START}\nnew\n{table.END}\nbelow\n"
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="has no section"):
        table.write(readme, "new")


def test_ratios_compare_the_same_protocol():
    def row(server, protocol, speed):
        figures = {"per_second": {"16": speed}, "p50_ms": {"16": 1.0}, "p99_ms": {"16": 2.0}}
        others = {"cpu_us": 10.0, "start_seconds": None, "memory_mb": 50.0, "problem": None}
        return {"server": server, "protocol": protocol, **figures, **others}

    rows = [
        row("KServe ModelServer", "gRPC", 500.0),
        row("KServe ModelServer", "V2", 1000.0),
        row("Modelport", "V2", 20_000.0),
        row("Modelport", "gRPC", 10_000.0),
        row("BentoML", "own JSON", 2000.0),
        row("echo on uvicorn (ASGI)", "V2", 40_000.0),
    ]
    lines = table.markdown({"connections": [16], "rows": rows}).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [(line[0], line[1], line[-1]) for line in cells] == [
        ("Modelport", "V2", ""),
        ("Modelport", "gRPC", ""),
        ("BentoML", "own JSON", "10.0x"),
        ("KServe ModelServer", "V2", "20.0x"),
        ("KServe ModelServer", "gRPC", "20.0x"),
        ("echo on uvicorn (ASGI)", "V2", "0.50x"),
    ]
