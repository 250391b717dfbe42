import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from modelport.endpoints import Endpoint, instances
from modelport.errors import PredictionError, UsageError


@pytest.fixture(scope="module")
def server():
    """An endpoint that answers every instance with its length, and refuses empty ones."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            rows = body["instances"]
            bad = not all(rows)
            answer = {"error": "row 0 is empty"} if bad else {"predictions": [len(r) for r in rows]}
            data = json.dumps(answer).encode()
            self.send_response(400 if bad else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_many_rows_are_sent_in_batches_and_answered_in_order(server):
    endpoint = Endpoint(server, "m")
    rows = [[0] * (1 + i % 3) for i in range(600)]
    assert list(endpoint.answer(rows)["prediction"]) == [len(row) for row in rows]
    endpoint.close()


def test_a_refusal_is_told_in_the_servers_words(server):
    with pytest.raises(PredictionError, match="answers 400: row 0 is empty"):
        Endpoint(server, "m").answer([[]])


def test_an_endpoint_that_is_down_says_so():
    with pytest.raises(PredictionError, match="does not answer"):
        Endpoint("http://127.0.0.1:1", "m").answer([[1]])


def test_rows_become_instances():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, np.nan]})
    assert instances(frame) == [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": None, "c": None}]
    assert instances(frame.iloc[0]) == [{"a": 1, "b": "x", "c": 0.5}]
    assert instances(pd.DataFrame([[1, 2]])) == [[1, 2]]
    assert instances(np.array([[1.0, np.nan]])) == [[1.0, None]]
    assert instances(np.array([1, 2])) == [[1, 2]]
    assert instances([[1, 2], (3, 4)]) == [[1, 2], [3, 4]]
    assert instances({"a": np.float32(1)}) == [{"a": 1.0}]
    assert instances([{"a": pd.Timestamp("2026-01-02")}]) == [{"a": "2026-01-02T00:00:00"}]


def test_instances_are_plain_json():
    frame = pd.DataFrame({"a": np.array([1], dtype="int64"), "b": np.array([True])})
    assert json.loads(json.dumps(instances(frame))) == [{"a": 1, "b": True}]


@pytest.mark.parametrize("rows", [[], None, 3, "text", pd.DataFrame({"a": []})])
def test_what_holds_no_rows_is_refused(rows):
    with pytest.raises(UsageError, match="row"):
        instances(rows)
