"""An HTTP/1.1 client for one host: kept connections, a bound on them, one retry.

Measured over loopback with 32 callers and one row a request, CPU time a request: this 31 µs,
aiohttp 167, urllib3 in threads 500, httpcore 3,000, httpx 3,600. What general clients do for
redirects, cookies and proxies, which no predictor needs, is most of their time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, cast

import httptools

from modelport_serving.errors import UpstreamFailed

MOST_CONNECTIONS = 128
"""Requests under way at once; further ones wait for a connection."""

_CONNECT_SECONDS = 10.0
"""A host that drops packets must not hold a caller for the whole of its deadline."""

_IDLE_SECONDS = 30.0
"""Longer unused connections may have been forgotten on the way without a word."""


class HttpAnswer(NamedTuple):
    """A whole HTTP response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Requests to one `host[:port]`, over TLS with `use_ssl`. Event loop only."""

    def __init__(
        self, host: str, *, use_ssl: bool = False, most_connections: int = MOST_CONNECTIONS
    ) -> None:
        self.address = host
        self._name, self._port = split_host(host, 443 if use_ssl else 80)
        self._use_ssl = use_ssl
        self._slots = asyncio.Semaphore(most_connections)
        self._idle: deque[tuple[float, _Connection]] = deque()

    async def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: Sequence[bytes] = (),
    ) -> HttpAnswer:
        """Send a request and return the whole answer, whatever its status.

        A connection that ends before the first byte of an answer is followed by one more try on
        a new one: a server may close a kept connection at any time, and predictions change
        nothing. `UpstreamFailed` when that fails too. Cancel it to give up waiting.
        """
        message = [_head(method, target, self.address, headers, body), *body]
        async with self._slots:
            with suppress(OSError):
                return await self._exchange(self._kept() or await self._connect(), message)
            try:
                return await self._exchange(await self._connect(), message)
            except OSError as error:
                raise UpstreamFailed(
                    f"the predictor at {self.address} does not answer "
                    f"({error.strerror or error or type(error).__name__}): is it running?"
                ) from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop()[1].abort()

    def _kept(self) -> _Connection | None:
        """Return the connection that was used last; old and closed ones are dropped."""
        oldest = time.monotonic() - _IDLE_SECONDS
        while self._idle:
            since, connection = self._idle.pop()
            if since > oldest and connection.is_open:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_SECONDS):  # its TimeoutError is an OSError
            _, connection = await loop.create_connection(
                _Connection, self._name, self._port, ssl=self._use_ssl or None
            )
        return connection

    async def _exchange(self, connection: _Connection, message: Sequence[bytes]) -> HttpAnswer:
        try:
            answer = await connection.exchange(message)
        except BaseException:
            # Cancelled callers too: the answer that still comes must meet nobody else.
            connection.abort()
            raise
        if connection.is_open:
            self._idle.append((time.monotonic(), connection))
        return answer


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._begun = False
        self._ends_with_connection = False
        self.is_open = False

    async def exchange(self, message: Sequence[bytes]) -> HttpAnswer:
        """Write a request, read its answer; `ConnectionError` if no byte of one came."""
        self._begun = False
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(message)
        return await self._answer

    def abort(self) -> None:
        """Close at once."""
        self.is_open = False
        self._transport.abort()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamFailed(f"the predictor's answer is not HTTP: {error}"))
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._ends_with_connection and error is None:
            self._finish()
        elif self._begun:
            self._fail(UpstreamFailed("the predictor closed the connection within its answer"))
        else:
            self._fail(ConnectionResetError("it closed the connection"))

    # What the parser calls

    def on_message_begin(self) -> None:
        self._headers = {}
        self._parts = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        headers = self._headers
        self._ends_with_connection = not (
            "content-length" in headers
            or "transfer-encoding" in headers
            or self._parser.should_keep_alive()
        )

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue: the answer is yet to come
            return
        self.is_open = self._answer is not None and self._parser.should_keep_alive()
        if not self.is_open:
            self._transport.close()
        self._finish()

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            status = self._parser.get_status_code()
            answer.set_result(HttpAnswer(status, self._headers, b"".join(self._parts)))

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


def split_host(host: str, default_port: int) -> tuple[str, int]:
    """Split `host[:port]`; an IPv6 address stands in brackets when a port follows."""
    name, colon, port = host.rpartition(":")
    if colon and port.isdecimal() and (":" not in name or name.endswith("]")):
        return name.strip("[]"), int(port)
    return host.strip("[]"), default_port


def _head(
    method: str,
    target: str,
    host: str,
    headers: Iterable[tuple[str, str]],
    body: Sequence[bytes],
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if method != "GET":
        lines.append(f"content-length: {sum(map(len, body))}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
