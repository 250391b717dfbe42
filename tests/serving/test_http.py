"""HTTP/1.1 as callers really speak it: bytes on a socket to a real server."""

from __future__ import annotations

import gzip
import json
import select
import socket
import ssl
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Server, Serving, Trained

ROW = {"instances": [[50.0, 2.0]]}
BODY = json.dumps(ROW).encode()
PATH = "/v1/models/price:predict"
MOST = 20_000


@pytest.fixture(scope="module")
def server(price: Trained, serving: Serving) -> Iterator[Server]:
    with serving(*price.arguments("price"), "--max_body_bytes", str(MOST)) as running:
        yield running


def head(method: str = "POST", path: str = PATH, version: str = "1.1", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def request(body: bytes = BODY, **headers: str) -> bytes:
    return head(Content_Length=str(len(body)), **headers) + body


class Line:
    """One connection, and the answers that come on it."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def status(self) -> int:
        return int(self.file.readline().split()[1])

    def answer(self, *, with_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status = self.status()
        headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        size = int(headers["content-length"]) if with_body else 0
        return status, headers, self.file.read(size)

    def is_closed(self) -> bool:
        return self.file.read(1) == b""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    with Line(server) as connection:
        yield connection


def predicted(body: bytes) -> float:
    return float(json.loads(body)["predictions"][0][0])


def test_pipelined_requests_are_answered_in_their_order(line: Line) -> None:
    areas = [float(area) for area in range(50, 100)]
    bodies = [json.dumps({"instances": [[area, 2.0]]}).encode() for area in areas]
    line.send(b"".join(map(request, bodies)))

    answers = [predicted(line.answer()[2]) for _ in areas]

    assert answers == sorted(answers)
    assert len(set(answers)) == len(areas)


def test_the_same_head_again_may_have_another_body(line: Line) -> None:
    areas = [50.0, 60.0, 70.0, 80.0]
    answers = []
    for area in areas:
        line.send(request(json.dumps({"instances": [[area, 2.0]]}).encode()))
        answers.append(predicted(line.answer()[2]))

    assert answers == sorted(answers)
    assert len(set(answers)) == len(areas)


def test_what_came_together_once_is_not_one_request_later(line: Line) -> None:
    for _ in range(3):
        line.send(request() * 2)
        assert [line.answer()[0], line.answer()[0]] == [200, 200]
    line.send(request() + request(b"{"))
    assert [line.answer()[0], line.answer()[0]] == [200, 400]


def test_a_head_is_not_the_same_for_a_body_of_another_length(line: Line) -> None:
    line.send(request())
    assert line.answer()[0] == 200
    line.send(head(Content_Length=str(len(BODY))))
    line.send(BODY[:7])
    line.send(BODY[7:] + request())
    assert [line.answer()[0], line.answer()[0]] == [200, 200]


def test_a_request_may_come_byte_by_byte(line: Line) -> None:
    for byte in request(b'{"instances": [[50.0, 2.0]]}'):
        line.send(bytes([byte]))

    assert line.answer()[0] == 200


def test_chunks_are_put_together(line: Line) -> None:
    line.send(head(Transfer_Encoding="chunked"))
    for start in range(0, len(BODY), 5):
        chunk = BODY[start : start + 5]
        line.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    line.send(b"0\r\nX-Trailer: 1\r\n\r\n")

    assert line.answer()[0] == 200


def test_a_caller_may_wait_for_100_continue(line: Line) -> None:
    line.send(head(Content_Length=str(len(BODY)), Expect="100-continue"))
    assert line.status() == 100
    line.file.readline()
    line.send(BODY)

    assert line.answer()[0] == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(line: Line) -> None:
    line.send(head(Content_Length=str(MOST + 1), Expect="100-continue"))

    status, headers, body = line.answer()

    assert (status, headers["connection"]) == (413, "close")
    assert "--max_body_bytes" in json.loads(body)["error"]


def test_headers_are_bounded(line: Line) -> None:
    line.send(b"GET / HTTP/1.1\r\n")
    for _ in range(80):
        line.send(b"x-padding: " + b"x" * 1000 + b"\r\n")

    assert line.answer()[0] == 431
    assert line.is_closed()


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # a TLS greeting
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(line: Line, data: bytes) -> None:
    line.send(data)

    status, headers, body = line.answer()

    assert (status, headers["connection"]) == (400, "close")
    assert "not valid HTTP/1.1" in json.loads(body)["error"]
    assert line.is_closed()


def test_http_1_0_and_connection_close_end_the_connection(server: Server) -> None:
    for ending in (head("GET", "/", "1.0"), head("GET", "/", Connection="close")):
        with Line(server) as line:
            line.send(ending)
            status, headers, _ = line.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert line.is_closed()


def test_an_upgrade_is_answered_as_the_request_it_is(line: Line) -> None:
    line.send(head("GET", "/v2/health/live", Connection="Upgrade", Upgrade="h2c"))

    assert line.answer()[0] == 200


def test_head_has_no_body(line: Line) -> None:
    line.send(head("HEAD", PATH) + head("GET", "/v2/health/live"))

    assert line.answer(with_body=False)[0] == 405
    assert line.answer()[0] == 200


def test_a_caller_that_has_sent_all_gets_its_answer(line: Line) -> None:
    line.send(request())
    line.socket.shutdown(socket.SHUT_WR)

    assert line.answer()[0] == 200
    assert line.is_closed()


def test_a_slow_reader_stops_nobody(price: Trained, serving: Serving) -> None:
    """Without a small bound of bodies: past that, the rest of a connection is read and dropped."""
    with serving(*price.arguments("price")) as server, Line(server) as slow:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.socket.setblocking(False)
        many = request(json.dumps({"instances": [[50.0, 2.0]] * 1000}).encode())
        sent, left = 0, b""
        while sent < 4000 * len(many):
            left = left or many
            if not writable(slow.socket):
                break
            taken = slow.socket.send(left)
            # A request that was cut would be a damaged one.
            sent, left = sent + taken, left[taken:]

        assert server.post(PATH, ROW).status == 200
        assert sent < 4000 * len(many), "the server read on without being read"


def writable(connection: socket.socket, limit: float = 1.0) -> bool:
    """Tell whether the other side takes more within `limit` seconds."""
    return bool(select.select([], [connection], [], limit)[1])


@pytest.mark.parametrize(
    ("coding", "packed"),
    [("gzip", gzip.compress(BODY, mtime=0)), ("deflate", zlib.compress(BODY)), ("identity", BODY)],
)
def test_compressed_requests(server: Server, coding: str, packed: bytes) -> None:
    answer = server.post(PATH, packed, **{"Content-Encoding": coding})

    assert answer.status == 200
    assert answer.json == server.post(PATH, ROW).json


@pytest.mark.parametrize(
    ("coding", "packed", "status", "fragment"),
    [
        ("gzip", b"no gzip", 400, "not valid gzip"),
        ("gzip", gzip.compress(BODY, mtime=0)[:-9], 400, "ends too early"),
        ("br", BODY, 400, "unknown Content-Encoding 'br'"),
        ("gzip", gzip.compress(b" " * 10_000_000, mtime=0), 413, "--max_body_bytes"),
    ],
)
def test_compressed_requests_that_are_not_well(
    server: Server, coding: str, packed: bytes, status: int, fragment: str
) -> None:
    answer = server.post(PATH, packed, **{"Content-Encoding": coding})

    assert answer.status == status
    assert fragment in answer.json["error"]


def test_large_answers_are_compressed_for_those_who_accept_it(server: Server) -> None:
    rows = {"instances": [[5, 2]] * 2400}
    plain = server.post(PATH, rows)
    packed = server.post(PATH, rows, **{"Accept-Encoding": "gzip"})

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.body) // 10
    assert packed.body == plain.body  # urllib3 has expanded it


def test_a_request_keeps_its_id(server: Server) -> None:
    assert server.post(PATH, ROW, **{"X-Request-Id": "a-7"}).headers["x-request-id"] == "a-7"
    assert "x-request-id" not in server.post(PATH, ROW).headers


def test_an_open_connection_does_not_outlive_the_server(price: Trained, serving: Serving) -> None:
    with serving(*price.arguments("price")) as server, Line(server) as line:
        line.send(head("GET", "/v2/health/live"))
        line.answer()
        assert server.stop() == 0
        assert line.is_closed()


def test_a_token_is_asked_for(price: Trained, serving: Serving, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    with serving(*price.arguments("price"), "--auth_token_file", str(secret)) as server:
        for given in ({}, {"Authorization": "Bearer other"}, {"Authorization": "s3cret"}):
            refused = server.post(PATH, ROW, **given)
            assert refused.status == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "bearer token" in refused.json["error"]
        assert server.get("/metrics").status == 401
        assert server.get("/v2/health/ready").status == 200
        assert server.post(PATH, ROW, Authorization="bearer s3cret").status == 200
        assert "s3cret" not in server.errors()


def test_tls(price: Trained, serving: Serving, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(certificate))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, *files, *names], check=True, capture_output=True)
    tls = ("--tls_cert_file", str(certificate), "--tls_key_file", str(key))
    with serving(*price.arguments("price"), *tls, scheme="https") as server:
        context = ssl.create_default_context(cafile=str(certificate))
        with urllib3.PoolManager(ssl_context=context, retries=False) as trusting:
            url = f"https://{server.address}{PATH}"
            answer: Any = trusting.request("POST", url, body=BODY, timeout=10)
        assert answer.status == 200
        assert f"ready at https://{server.address}" in server.errors()


def test_large_bodies_are_bounded_all_together(server: Server) -> None:
    """Eight bodies of the largest size may be in memory: more are refused until some are gone."""
    body = b" " * (MOST - 1)
    begun = []
    try:
        for _ in range(9):
            line = Line(server)
            begun.append(line)
            line.send(head(Content_Length=str(MOST)) + body)
            # The next answer on another connection comes after this body has been read.
            assert server.get("/v2/health/live").status == 200
        status, headers, _ = begun[-1].answer()
        assert (status, headers["retry-after"]) == (503, "1")
        begun[0].send(b" ")
        assert begun[0].answer()[0] == 400
        with Line(server) as late:
            late.send(request())
            assert late.answer()[0] == 200
    finally:
        for line in begun:
            line.__exit__()
