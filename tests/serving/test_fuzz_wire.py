"""Damaged requests over real sockets to a real server, in short; `fuzz.py` is the long form."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

sys.path.append(str(Path(__file__).parent))  # where the long form finds the same modules

from fuzz import GROWTH_MIB, described, problems, resident
from fuzz_support import KINDS, Question, campaign, good_requests, save_models, split_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Server, Serving

REQUESTS = 150
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serving: Serving) -> Iterator[Server]:
    root = save_models(tmp_path_factory.mktemp("fuzzed"))
    with serving("--model_dir", str(root), "--enable_docs_url") as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_requests_do_no_harm(server: Server, kind: str) -> None:
    ports = server.port, server.grpc_port

    counts = asyncio.run(campaign(*ports, REQUESTS, kinds=[kind], seed=1))
    good = asyncio.run(good_requests(*ports))

    assert counts.sent == REQUESTS
    assert counts.failures == []
    assert good.failures == []
    assert problems(server) == []


def test_memory_stays_where_it_is(server: Server) -> None:
    def round_of(seed: int) -> int:
        counts = asyncio.run(campaign(server.port, server.grpc_port, 4 * REQUESTS, seed=seed))
        assert counts.failures == []
        return resident(server)

    first = round_of(2)

    assert round_of(3) - first < GROWTH_MIB * MIB


def test_the_openapi_document_keeps_what_it_promises(server: Server) -> None:
    found = described(server, examples=3)

    assert found.report == ""
    assert found.sent > 200
    assert problems(server) == []


# What the long form has found.


def infer(number: float, **fields: object) -> bytes:
    item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}
    body = json.dumps({"id": str(number), "inputs": [item]} | fields).encode()
    return Question("/v2/models/fp32/infer", body).wire()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_all(line: socket.socket) -> bytes:
    data = b""
    while piece := line.recv(1 << 16):
        data += piece
    return data


def answered(data: bytes) -> list[float]:
    return [float(text) for text in re.findall(rb'"data":\[([\d.]+)\]', data)]


def test_a_request_never_overtakes_those_before_it(server: Server) -> None:
    """They may come while the answer to the one before is just being sent."""
    numbers = [float(n) for n in range(2000)]
    with connect(server) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        for start in range(0, len(numbers), 20):
            for pair in zip(*[iter(numbers[start : start + 20])] * 2, strict=True):
                line.sendall(b"".join(map(infer, pair)))
            while len(answered(data)) < start + 20:
                data += line.recv(1 << 16)

    assert answered(data) == numbers


def test_all_that_was_sent_before_the_end_is_answered(server: Server) -> None:
    with connect(server) as line:
        line.sendall(b"".join(map(infer, (1.0, 2.0, 3.0))))
        line.shutdown(socket.SHUT_WR)

        assert answered(read_all(line)) == [1, 2, 3]


def test_a_connection_ends_with_its_caller(server: Server, wait_until: Callable[..., None]) -> None:
    """Also one that ends in the middle of a request, with answers still due."""
    process = psutil.Process(server.process.pid)
    before = process.num_fds()
    for _ in range(10):
        with connect(server) as line:
            line.sendall(infer(1.0) * 15 + infer(2.0)[:-5])
            line.shutdown(socket.SHUT_WR)
            assert answered(read_all(line)) == [1] * 15

    wait_until(lambda: process.num_fds() <= before, "all are closed", seconds=10)


def test_all_that_was_sent_before_a_bad_request_is_answered(server: Server) -> None:
    with connect(server) as line:
        line.sendall(infer(1.0) + infer(2.0) + b"nonsense\r\n\r\n")
        data = read_all(line)

    assert list(split_answers(data)) == [200, 200, 400]
    assert answered(data) == [1, 2]


def test_a_body_comes_through_with_an_offer_to_upgrade(server: Server) -> None:
    """Java's own client offers HTTP/2 with its first request, whatever it is."""
    offer = infer(7.0).replace(
        b"Host: x", b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"
    )
    with connect(server) as line:
        line.sendall(offer * 3 + infer(8.0))
        line.shutdown(socket.SHUT_WR)

        assert answered(read_all(line)) == [7, 7, 7, 8]


def test_trailers_are_bounded(server: Server) -> None:
    with connect(server) as line:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: "
        line.sendall(head + b"x" * 600_000)

        assert list(split_answers(read_all(line))) == [431]


@pytest.mark.parametrize("values", [[1.0, "a" * 50_000], ["a" * 50_000, 1.0]])
@pytest.mark.parametrize("model", ["fp32", "table", "columns"])
def test_one_long_text_is_not_room_for_all(
    server: Server, model: str, values: list[object]
) -> None:
    """Numpy would make every element as wide as the longest: 50 KB times 100,000."""
    many = values + [0.5] * 100_000
    before = resident(server)
    v1 = server.post(f"/v1/models/{model}:predict", {"instances": [many[:3], *[[0.5] * 3] * 9999]})
    item = {"name": "x", "datatype": "FP32", "shape": [len(many)], "data": many}
    v2 = server.post("/v2/models/fp32/infer", {"inputs": [item]})

    assert (v1.status, v2.status) == (400, 400)
    assert psutil.Process(server.process.pid).memory_info().rss - before < 64 * MIB
    assert problems(server) == []


def test_an_error_tells_nothing_of_the_machine(server: Server) -> None:
    headers = {"Content-Type": "application/json"}
    answer = server.post("/v2/repository/index", b'{"ready": 7}', **headers)

    assert (answer.status, answer.json["error"]) == (
        400,
        "body.ready: Input should be a valid boolean",
    )
