from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.render import curl_line, metadata_line

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "http://127.0.0.1:8080"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: "Infinity" not in json.dumps(value))


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server's address and the requests that it got."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers["Content-Type"]
            requests.append({"path": self.path, "type": kind, "body": json.loads(body)})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")
def test_works_as_it_is_pasted(received: tuple[str, list[dict[str, Any]]]) -> None:
    url, requests = received
    row = {"name": 'O\'Brien $HOME `id` "x"', "age": 41, "income": float("nan")}

    shell = ["sh", "-c", curl_line(url + "/", "tumor", row)]
    subprocess.run(shell, check=True, timeout=20)

    assert requests == [
        {
            "path": "/v1/models/tumor:predict",
            "type": "application/json",
            "body": {"instances": [{**row, "income": None}]},
        }
    ]


def test_takes_numpy_rows() -> None:
    words = shlex.split(curl_line(URL, "tumor", np.array([1.5, np.inf, 3.0])))

    assert words[2] == "http://127.0.0.1:8080/v1/models/tumor:predict"
    assert json.loads(words[-1]) == {"instances": [[1.5, None, 3.0]]}


@given(json_values)
def test_any_instance_survives_the_shell(instance: Any) -> None:
    line = curl_line(URL, "tumor", instance)

    assert json.loads(shlex.split(line)[-1]) == {"instances": [instance]}


def test_a_hostile_name_stays_one_word() -> None:
    assert shlex.split(metadata_line(URL, "a; rm -rf /")) == [
        "curl",
        "-s",
        "http://127.0.0.1:8080/v2/models/a%3B%20rm%20-rf%20%2F",
    ]
