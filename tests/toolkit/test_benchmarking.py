import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

import modelport
from modelport.benchmarking import calls, models, sweep
from modelport.benchmarking.drive import Generator
from modelport.benchmarking.endpoint import Address, Live
from modelport.benchmarking.rounds import Loads, Point, Round, best_batch_size, latency, measure
from modelport.errors import PredictionError, UsageError
from modelport.reports import RuntimeSettings

QUICK = Loads((1, 4), (1,), 0.01, 2)


def graph(*, branches):
    """Multiply by two; with branches, add two such products."""
    nodes = [helper.make_node("Add", ["x", "x"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    if branches:
        nodes.append(helper.make_node("Neg", ["a"], ["c"]))
        nodes.append(helper.make_node("Sub", ["b", "c"], ["y"]))
    else:
        nodes.append(helper.make_node("Identity", ["b"], ["y"]))
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", value[:1], value[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Native:
    def predict(self, rows):
        return rows * 2


def point(run, batch_size=1, concurrency=1):
    return Point("native", batch_size, concurrency, run)


def rounds(*throughputs):
    return [Round(np.full(10, 0.001), 10 / throughput) for throughput in throughputs]


# Figures


def test_rounds_make_figures_together():
    one = Round(np.arange(1, 51) / 1000, 1.0)
    two = Round(np.arange(51, 101) / 1000, 1.0, failures=2, first_error="status 503")
    found = latency(point(lambda: one, 8, 4), [one, two])
    assert (found.batch_size, found.concurrency, found.requests) == (8, 4, 100)
    assert (found.p50_ms, found.p90_ms, found.max_ms) == pytest.approx((50.5, 90.1, 100))
    assert found.p95_ms < found.p99_ms
    assert (found.throughput, found.rows_per_second) == (50.0, 400.0)
    assert (found.failures, found.first_error) == (2, "status 503")


def test_the_spread_is_the_range_over_the_median():
    assert latency(point(None), rounds(100, 80, 120)).spread == pytest.approx(0.4)
    assert latency(point(None), rounds(100)).spread is None


def test_loads_are_interleaved():
    order = []

    def told(name):
        order.append(name)
        return rounds(100)[0]

    measure([point(lambda: told("a")), point(lambda: told("b"))], 3)
    assert order == ["a", "b"] * 3
    measure([point(lambda: told("c"))], 3, most_seconds=0.0)
    assert order == ["a", "b"] * 3 + ["c"]


def test_a_load_at_which_nothing_is_answered_is_an_error():
    nothing = Round(np.empty(0), 1.0, 5, "status 500: out of memory")
    with pytest.raises(PredictionError, match=r"4 callers.*not one.*status 500: out of memory"):
        measure([point(lambda: nothing, concurrency=4)], 1)


def test_the_best_batch_has_most_rows_a_second_with_the_fewest_callers():
    def at(size, callers, throughput):
        return latency(point(None, size, callers), rounds(throughput))

    found = [at(1, 1, 1000), at(16, 1, 500), at(256, 1, 10), at(256, 8, 9000)]
    assert best_batch_size(found, "native") == 16
    assert best_batch_size(found, "live") is None


@pytest.mark.parametrize("bad", [{"batch_sizes": ()}, {"concurrency": (0,)}, {"seconds": 0.0}])
def test_impossible_loads_are_refused(bad):
    with pytest.raises(UsageError):
        Loads(**bad)


# In process


def test_every_call_after_the_warm_up_is_counted():
    made = []
    seen = calls.run(lambda: made.append(1), 0.0, least=20)
    assert len(seen.times) == len(made) - calls._WARM_UP_CALLS == 20


def test_callers_run_at_the_same_time():
    together = threading.Barrier(4, timeout=10)
    gate = threading.local()

    def call():
        if threading.current_thread() is not threading.main_thread() and not hasattr(gate, "met"):
            together.wait()
            gate.met = True

    assert len(calls.run(call, 0.0, callers=4, least=5).times) == 20


def test_an_error_in_a_caller_is_raised():
    def call():
        if threading.current_thread() is not threading.main_thread():
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        calls.run(call, 0.0, callers=2)


def test_loading_is_measured():
    kept, footprint = calls.loaded(lambda: bytearray(64 << 20))
    assert len(kept) == 64 << 20
    assert footprint.memory_bytes > 32 << 20
    assert footprint.load_seconds > 0


def test_parallel_execution_is_tried_where_the_graph_has_branches():
    assert not sweep.has_branches(graph(branches=False))
    assert sweep.has_branches(graph(branches=True))

    chain, why = sweep.candidates(graph(branches=False), 8)
    assert [one.intra_op_num_threads for one in chain] == [1, 4, 8]
    assert "a chain" in why

    branched, why = sweep.candidates(graph(branches=True), 2)
    assert branched[-1] == RuntimeSettings(inter_op_num_threads=2, execution_mode="parallel")
    assert (len(branched), why) == (3, "")

    alone, why = sweep.candidates(graph(branches=True), 1)
    assert alone == (RuntimeSettings(),)
    assert "one core" in why


def test_settings_are_chosen_that_are_clearly_faster():
    slow, fast = RuntimeSettings(), RuntimeSettings(intra_op_num_threads=2)
    table = sweep.choose({slow: lambda: sum(range(200_000)), fast: lambda: None}, QUICK)
    assert [(one.settings, one.chosen) for one in table] == [(slow, False), (fast, True)]
    assert table[1].throughput > table[0].throughput

    table = sweep.choose({fast: lambda: None, slow: lambda: sum(range(200_000))}, QUICK)
    assert [one.chosen for one in table] == [True, False]


def test_both_models_are_measured_under_the_same_loads():
    rows = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    said = []
    found = models.compare(Native, graph(branches=True), rows, QUICK, said.append)
    loads = [(one.subject, one.batch_size, one.concurrency) for one in found.measurements]
    assert loads == [(s, size, 1) for s in ("native", "converted") for size in (1, 4)]
    assert all(one.spread is not None for one in found.measurements)
    assert set(found.footprints) == {"native", "converted"}
    assert found.settings in [one.settings for one in found.candidates if one.chosen]
    assert found.best_batch_size in (1, 4)
    assert "round 2 of 2: converted, 1 caller, 4 rows a request" in said


def test_batches_that_would_take_too_long_are_left_out_and_named():
    rows = pd.DataFrame({"a": [1.0], "b": [2.0]})
    found = models.compare(Native, None, rows, QUICK, lambda _: None, most_seconds=0.0)
    assert [one.batch_size for one in found.measurements] == [1]
    assert found.note == "native: batches of 4 would take over 0 s each"
    assert (found.candidates, found.best_batch_size) == ((), 1)


def test_images_are_measured_in_batches():
    images = np.zeros((2, 3, 8, 8), np.float32)
    seen = []

    class Network(Native):
        def predict(self, rows):
            seen.append(rows.shape)

    found = models.compare(Network, None, images, QUICK, lambda _: None)
    assert [one.batch_size for one in found.measurements] == [1, 4]
    assert set(seen) == {(1, 3, 8, 8), (4, 3, 8, 8)}


# Endpoints


class Served:
    """A server that answers as it is told, and keeps what it was sent."""

    def __init__(self):
        self.bodies = []
        self.statuses = []
        self.reply = lambda number: 200  # noqa: ARG005 - the number of the request
        self.metadata = {}
        kept = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._send(200, json.dumps(kept.metadata).encode())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = kept.reply(len(kept.bodies))
                kept.bodies.append(body)
                kept.statuses.append(status)
                if status == 0:
                    self.close_connection = True
                    return
                self._send(status, b'{"outputs": []}' if status == 200 else b"the queue is full")

            def _send(self, status, data):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever).start()


@pytest.fixture
def served():
    server = Served()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(scope="module")
def generator():
    with Generator() as running:
        yield running


def test_connections_send_every_body_in_turn(generator, served):
    seen = generator.run(served.url, [b"1", b"22"], 3, 0.2)
    assert seen.failures == 0
    assert 0 < len(seen.times) <= len(served.bodies)  # the warm-up's are not counted
    assert abs(served.bodies.count(b"1") - served.bodies.count(b"22")) <= 3
    assert seen.times.min() > 0
    assert seen.elapsed > 0


def test_an_answer_that_takes_longer_than_the_round_is_counted(generator, served):
    def slowly(number):
        del number
        time.sleep(0.05)
        return 200

    served.reply = slowly
    seen = generator.run(served.url, [b"{}"], 1, 0.01)
    assert seen.failures == 0
    assert seen.times.min() >= 0.05


def test_a_refusal_is_a_failure_and_told(generator, served):
    served.reply = lambda number: 503 if number % 3 == 1 else 200
    seen = generator.run(served.url, [b"{}"], 2, 0.2)
    assert seen.failures == served.statuses.count(503) > 0
    assert seen.first_error == "status 503: the queue is full"
    assert len(seen.times) <= served.statuses.count(200)


def test_a_broken_connection_is_a_failure_and_opened_again(generator, served):
    served.reply = lambda number: 0 if number == 2 else 200
    seen = generator.run(served.url, [b"{}"], 1, 0.2)
    assert seen.failures == 1
    assert "connection broke" in seen.first_error
    assert len(served.bodies) > 3


def test_an_endpoint_that_is_down_answers_nothing(generator):
    seen = generator.run("http://127.0.0.1:1/", [b"{}"], 2, 0.1)
    assert len(seen.times) == 0
    assert seen.failures >= 2
    assert "no connection" in seen.first_error


def test_the_generator_knows_its_own_ceiling(generator):
    assert generator.ceiling([b"x" * 500], 300, 4, 0.1) > 100


@pytest.mark.parametrize(
    ("url", "model", "protocol", "asked"),
    [
        ("http://h/v2/models/m", None, None, "http://h/v2/models/m/infer"),
        ("http://h/a/v2/models/m/infer", None, None, "http://h/a/v2/models/m/infer"),
        ("http://h/v2/models/m/versions/3", None, None, "http://h/v2/models/m/versions/3/infer"),
        ("http://h/v1/models/m:predict", None, None, "http://h/v1/models/m:predict"),
        ("http://h/v1/models/m", None, "v2", "http://h/v2/models/m/infer"),
        ("https://h:1/a/", "m", None, "https://h:1/a/v2/models/m/infer"),
        ("http://h", "m", "v1", "http://h/v1/models/m:predict"),
    ],
)
def test_urls_are_understood(url, model, protocol, asked):
    assert Address.parse(url, model, protocol).url == asked


def test_a_servers_url_needs_a_model():
    with pytest.raises(UsageError, match="--model"):
        Address.parse("http://h:80", None, None)


def test_rows_are_made_by_the_models_metadata(served):
    served.metadata = {
        "inputs": [
            {"name": "age", "datatype": "INT64", "shape": [-1, 1]},
            {"name": "size", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "town", "datatype": "BYTES", "shape": [-1, 1]},
        ]
    }
    (first, *_) = Live(Address(served.url, "m")).bodies(3)
    sent = json.loads(first)["inputs"]
    assert [(one["datatype"], one["shape"]) for one in sent] == [
        (kind, [3, 1]) for kind in ("INT64", "FP32", "BYTES")
    ]
    kinds = [{type(cell) for (cell,) in one["data"]} for one in sent]
    assert kinds == [{int}, {float}, {str}]
    (first, *_) = Live(Address(served.url, "m", "v1")).bodies(2)
    assert [set(row) for row in json.loads(first)["instances"]] == [{"age", "size", "town"}] * 2


def test_rows_that_are_given_are_sent(served):
    served.metadata = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
    rows = pd.DataFrame({"a": [1.0, np.nan, 5.0], "b": [2, 4, 6]})
    first, second, *_ = Live(Address(served.url, "m"), rows).bodies(2)
    assert json.loads(first)["inputs"][0]["data"] == [[1.0, 2.0], [None, 4.0]]
    assert json.loads(second)["inputs"][0]["data"] == [[5.0, 6.0], [1.0, 2.0]]
    (first, *_) = Live(Address(served.url, "m", "v1"), rows).bodies(1)
    assert json.loads(first)["instances"] == [{"a": 1.0, "b": 2}]


@pytest.mark.parametrize("rows", [[[1.0]], [[1.0, "x"]], [[[1.0, 2.0]]]])
def test_rows_that_do_not_fit_are_refused(served, rows):
    served.metadata = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
    with pytest.raises(UsageError, match="metadata"):
        Live(Address(served.url, "m"), rows)


def test_an_endpoint_without_metadata_is_told(served):
    with pytest.raises(PredictionError, match="describes no inputs"):
        Live(Address(served.url, "m"))


# The verb


@pytest.mark.usefixtures("store", "home")
def test_a_model_is_measured_native_and_converted(store):
    rows = store.holdout.drop(columns="label")
    found = modelport.benchmark(
        "models:/breast-cancer@champion",
        data=rows,
        concurrency=[1],
        batch=[1, 8],
        seconds=0.01,
        repeats=2,
    ).report
    assert found.target == "models:/breast-cancer/1"
    assert {(one.subject, one.batch_size) for one in found.measurements} == {
        (subject, size) for subject in ("native", "converted") for size in (1, 8)
    }
    assert any(one.chosen for one in found.candidates)


@pytest.mark.usefixtures("store", "home")
def test_a_model_without_a_conversion_says_why():
    found = modelport.benchmark(
        "models:/echo/1", concurrency=[1], batch=[1], seconds=0.01, repeats=1
    ).report
    assert {one.subject for one in found.measurements} == {"native"}
    assert found.note.startswith("there is no converted model")


@pytest.mark.usefixtures("home")
def test_an_endpoint_is_measured_beside_the_generators_ceiling(served):
    served.metadata = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
    found = modelport.benchmark(
        f"{served.url}/v2/models/m", concurrency=[1, 2], batch=[1], seconds=0.05, repeats=2
    ).report
    assert found.protocol == "v2"
    assert [one.concurrency for one in found.measurements] == [1, 2]
    assert all(one.ceiling > 0 for one in found.measurements)
