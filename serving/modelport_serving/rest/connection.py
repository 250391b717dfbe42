"""HTTP/1.1 over an asyncio transport: one `Connection` a caller, one `Request` at a time.

The parser is httptools (llhttp, what Node.js uses). There is no task and no coroutine between a
request's last byte and its handler: a small model answers in less time than either would take, and
requests that arrive in one turn of the event loop can be answered as one batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast
from urllib.parse import unquote

import httptools

from modelport_serving.errors import InvalidInput, Overloaded, ServingError
from modelport_serving.listening import OpenConnections
from modelport_serving.rest.replies import JSON_HEADERS, Reply, error_reply, json_reply

_MOST_HEADER_BYTES = 64 * 1024
_MOST_PIPELINED = 16
"""Requests read ahead of the answers on one connection."""

_IDLE_SECONDS = 75.0
"""A quiet connection is kept longer than the proxies in front (Envoy: 15 s here, 60 s at most
elsewhere) keep it, so that they never send on one that is just being closed."""

_STALL_SECONDS = 20.0
"""How long a caller may send no byte of a request that it has begun, or take none of an answer."""

_HEAD_END = b"\r\n\r\n"
_UNREPEATABLE = frozenset({"transfer-encoding", "expect", "upgrade"})
_COPY_BYTES = 64 * 1024
"""Bodies up to this size are sent in one piece with their headers."""

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_JSON_HEADS = {
    status: f"{line}content-type: application/json\r\ncontent-length: ".encode()
    for status, line in _STATUS_LINES.items()
}


class Handler(Protocol):
    """What answers requests; called in the event loop, and never to raise."""

    draining: bool
    """Whether answers ask their callers to come back on another connection."""

    def admit(self, request: Request) -> Reply | None:
        """Refuse a request by its headers, before its body is read; None takes it."""

    def handle(self, request: Request) -> None:
        """Answer a whole request with `request.reply`, now or later."""

    @property
    def max_body_bytes(self) -> int:
        """The largest body to read."""

    def too_large(self) -> ServingError:
        """Say that a body is larger than that."""


class Request:
    """One HTTP request. `headers` are by lower-case name; of a repeated one the last counts."""

    __slots__ = (
        "_connection",
        "body",
        "headers",
        "held_bytes",
        "keep_alive",
        "method",
        "on_gone",
        "path",
        "query",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.method = b""
        self.path = ""
        self.query = b""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.held_bytes = 0
        """Of its body, as it came; 0 if it came in one small piece."""
        self.keep_alive = True
        self.on_gone: Callable[[], None] | None = None
        """Called when the caller goes away before the answer."""

    def again(self) -> Request:
        """Return a request with the same head, and no body yet."""
        request = Request(self._connection)
        request.method, request.path, request.query = self.method, self.path, self.query
        request.headers = self.headers
        return request

    def reply(self, reply: Reply) -> None:
        """Send the answer. A caller that is gone is not an error."""
        self._connection.reply(self, reply)

    @property
    def client(self) -> tuple[str, int] | None:
        """The caller's address and port."""
        return self._connection.peer

    @property
    def scheme(self) -> str:
        """`http`, or `https` over TLS."""
        return "https" if self._connection.secure else "http"


class Connections(OpenConnections["Connection"]):
    """The connections that come through a port, for one handler."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler.max_body_bytes)
        self.handler = handler

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, self.loop)

    @property
    def busy(self) -> bool:
        """Whether a request or an answer is on its way on any connection."""
        return any(not connection.is_idle for connection in self.open)

    def close_idle(self, seconds: float) -> None:
        """Close those on which nothing has gone on for so long. A new one is about to send."""
        quiet_since = self.loop.time() - seconds
        for connection in list(self.open):
            if connection.is_idle and connection.last_active <= quiet_since:
                connection.close()


class Connection(asyncio.Protocol):
    """One caller's connection: parses requests, and sends answers in their order."""

    def __init__(self, owner: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._handler = owner.handler
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._incoming: Request | None = None  # its end has not come yet
        self._waiting: deque[Request] = deque()  # read, not handled yet
        self._current: Request | None = None  # handled, not answered yet
        self._refused = False
        self._refusal: Reply | None = None  # to be sent after the answers that are due
        self._in_headers = False
        self._upgrading = False
        self._bytes_since_body = 0
        self._url = b""
        self._message = b""  # what came last between two requests
        self._known = Request(self)
        self._head = b""  # of the known request
        self._head_and_body = -1
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._held_bytes = 0
        self.last_active = 0.0
        self._write_paused = False
        self._read_paused = False
        self._closing = False
        self.secure = False
        self.peer: tuple[str, int] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether neither a request nor an answer is on its way."""
        return not (self._current or self._incoming or self._waiting or self._write_paused)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to read."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_COPY_BYTES)
        self.secure = transport.get_extra_info("sslcontext") is not None
        peer = transport.get_extra_info("peername")
        self.peer = peer[:2] if isinstance(peer, tuple) else None
        self.last_active = self._loop.time()
        self._owner.open.add(self)
        if self._owner.is_full:
            self._refuse(json_reply({"error": "too many connections: try again later"}, 503))

    def connection_lost(self, _: Exception | None) -> None:
        """Tell the request that is being answered that nobody waits for it."""
        self._owner.open.discard(self)
        self._closing = True
        current, self._current = self._current, None
        self._waiting.clear()
        self._hold(-self._held_bytes)
        if current is not None and current.on_gone is not None:
            current.on_gone()

    def data_received(self, data: bytes) -> None:
        """Parse what came; whole requests are handled meanwhile."""
        if self._refused:
            return
        self.last_active = self._loop.time()
        if self._incoming is None:
            if data.startswith(self._head) and len(data) == self._head_and_body:
                self._repeat(data)
                return
            self._message = data
        self._bytes_since_body += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(error_reply(InvalidInput(f"this is not valid HTTP/1.1: {error}")))
        else:
            # Trailers and chunk extensions count too: only a body has a limit of its own.
            if self._bytes_since_body > _MOST_HEADER_BYTES and not self._refused:
                self._refuse(json_reply({"error": "the headers are larger than 64 KiB"}, 431))

    def _repeat(self, data: bytes) -> None:
        """Take a request that differs from an earlier one in its body alone: no need to parse.

        Clients send the same headers again and again; parsing them would cost as much as a small
        model's answer.
        """
        request = self._known.again()
        request.body = data[len(self._head) :]
        if (refusal := self._handler.admit(request)) is not None:
            self._refuse(refusal)
        else:
            self._take(request)

    def _learn(self, request: Request) -> None:
        """Remember the head of a request that came in one piece with its body."""
        message, self._message = self._message, b""
        length = len(request.body)
        head = len(message) - length
        if (
            request.keep_alive
            and message.find(_HEAD_END) == head - len(_HEAD_END)  # or more came than one request
            and request.headers.get("content-length") == str(length)
            and request.headers.keys().isdisjoint(_UNREPEATABLE)
        ):
            self._head = message[:head]
            self._head_and_body = len(message)
            self._known = request.again()

    def _parse(self, data: bytes) -> None:
        """Parse what came. We speak nothing else: who asks to upgrade is answered in HTTP/1.1."""
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._refused:
                    return
                head = self._head_without_upgrade()
                self._upgrading = False
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(head)
                data = data[upgrade.args[0] :]
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        """Return the head again: after one with an upgrade the parser would skip the body."""
        request = self._incoming
        assert request is not None  # noqa: S101 - on_message_complete has kept it
        lines = [f"{n}: {value}\r\n" for n, value in request.headers.items() if n != "upgrade"]
        version = self._parser.get_http_version()
        first = b"%b %b HTTP/%b\r\n" % (request.method, self._url, version.encode())
        return first + "".join([*lines, "\r\n"]).encode("latin-1")

    def eof_received(self) -> bool:
        """Keep our side open while an answer is due: a caller may close its own side early."""
        self._refused = self._refused or self._incoming is not None
        self._incoming = None
        last = self._waiting[-1] if self._waiting else self._current
        if last is None:
            return False
        last.keep_alive = False
        return True

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._incoming = Request(self)
        self._in_headers = True
        self._url = b""
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Collect the URL, which may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers after a body are not headers."""
        if self._in_headers and self._incoming is not None:
            headers = self._incoming.headers
            headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Refuse a request by its headers, if need be, before its body comes."""
        request = self._incoming
        if request is None:
            return
        self._in_headers = False
        self._bytes_since_body = 0
        request.method = self._parser.get_method()
        if request.method == b"CONNECT":
            self._refuse(json_reply({"error": "this server is no proxy: CONNECT is refused"}, 405))
            return
        if "upgrade" in request.headers and self._parser.should_upgrade():
            self._upgrading = True
            return
        request.keep_alive = self._parser.should_keep_alive()
        path, _, request.query = self._url.partition(b"?")
        request.path = unquote(text) if "%" in (text := path.decode("latin-1")) else text
        headers = request.headers
        if int(headers.get("content-length", "0")) > self._handler.max_body_bytes:
            self._refuse(error_reply(self._handler.too_large()))
        elif (refusal := self._handler.admit(request)) is not None:
            self._refuse(refusal)
        elif headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body, no more of it than the limit allows."""
        if self._refused:
            return
        self._bytes_since_body = 0
        self._body_bytes += len(body)
        if self._body_bytes > self._handler.max_body_bytes:
            self._refuse(error_reply(self._handler.too_large()))
            return
        self._chunks.append(body)
        self._hold(len(body))
        if self._owner.held_bytes > self._owner.most_held_bytes:
            self._refuse(error_reply(Overloaded("too many large requests: try again shortly")))

    def on_message_complete(self) -> None:
        """Handle the request, or let it wait for the answer to the one before."""
        if self._upgrading:
            return
        request, self._incoming = self._incoming, None
        self._bytes_since_body = 0
        if request is None or self._refused:
            return
        chunks = self._chunks
        if chunks:
            request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._chunks = []
            request.held_bytes = self._body_bytes
            self._learn(request)
        self._take(request)

    def _take(self, request: Request) -> None:
        """Handle a request now, or when those before it are answered."""
        if self._current is None and not self._waiting and not self._write_paused:
            self._current = request
            self._handler.handle(request)
            return
        self._waiting.append(request)
        if len(self._waiting) >= _MOST_PIPELINED and not self._read_paused:
            self._read_paused = True
            self._transport.pause_reading()

    # Answers.

    def reply(self, request: Request, reply: Reply) -> None:
        """Send the answer to the current request, and go on to the next."""
        if self._closing or request is not self._current:
            return
        self._current = None
        if request.held_bytes:
            self._hold(-request.held_bytes)
        self._send(request, reply)
        if self._waiting:
            # Not now: a long pipeline would recurse, and starve the other connections.
            self._loop.call_soon(self._next)
        elif self._refused or not request.keep_alive or self._handler.draining:
            self._finish()

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        self._closing = True
        self._transport.close()

    def pause_writing(self) -> None:
        """Handle no further request: the caller takes its answers too slowly."""
        self._write_paused = True
        self.last_active = self._loop.time()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self.last_active = self._loop.time()
        self._next()

    def sweep(self, now: float) -> None:
        """Close the connection if it is idle, or its caller stalls, for too long."""
        quiet = now - self.last_active
        stalled = self._incoming is not None or self._write_paused or self._refused
        if self._current is None and quiet > (_STALL_SECONDS if stalled else _IDLE_SECONDS):
            self._transport.abort() if self._write_paused else self.close()

    def _send(self, request: Request | None, reply: Reply) -> None:
        # What waits was read already: it is answered first.
        closes = not self._waiting and (
            request is None or not request.keep_alive or self._handler.draining
        )
        body = reply.body
        if reply.headers is JSON_HEADERS:
            head = _JSON_HEADS[reply.status]
        else:
            lines = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
            head = f"{_STATUS_LINES[reply.status]}{lines}content-length: ".encode("latin-1")
        end = b"\r\nconnection: close\r\n\r\n" if closes else b"\r\n\r\n"
        if request is not None and request.method == b"HEAD":
            body, head = b"", head + str(len(body)).encode() + end
        else:
            head += str(len(body)).encode() + end
        if len(body) <= _COPY_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def _next(self) -> None:
        if self._current is not None or self._write_paused or self._closing:
            return
        following = self._waiting.popleft() if self._waiting else None
        # One read can bring more requests than one answer takes away.
        if self._read_paused and len(self._waiting) < _MOST_PIPELINED:
            self._read_paused = False
            self._transport.resume_reading()
        if following is not None:
            self._current = following
            self._handler.handle(following)

    def _refuse(self, reply: Reply) -> None:
        """Answer what cannot be a request, or shall not be read, and hang up.

        What comes meanwhile is read and dropped: closing on unread bytes would reset the
        connection, and the caller would not see the answer. The sweep ends it at last.
        """
        self._refused = True
        self._refusal = reply
        self._hold(-sum(map(len, self._chunks)))
        self._chunks = []
        if self._current is None and not self._waiting:
            self._finish()

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._owner.held_bytes += size

    def _finish(self) -> None:
        """Close our side once everything is sent."""
        self._refused = True
        if self._refusal is not None:
            self._send(None, self._refusal)
            self._refusal = None
        if self._incoming is not None and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self.close()
