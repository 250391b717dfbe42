"""gRPC over HTTP/2 on an asyncio transport: one `Connection` a caller, one `Rpc` a call.

There is no task and no coroutine between a request's last byte and its handler: a small model
answers in less time than either would take, and requests that arrive in one turn of the event loop
can be answered as one batch. Unary calls alone: what the Open Inference Protocol has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from modelport_serving.grpc import frames
from modelport_serving.grpc.frames import ConnectionFailed, ErrorCode, HeaderDecoder
from modelport_serving.grpc.rpc import Handler, Rpc
from modelport_serving.grpc.status import Code
from modelport_serving.listening import OpenConnections

_MOST_STREAMS = 1024
"""Calls at once on one connection."""

_MOST_HEADER_BYTES = 16 * 1024
_STREAM_WINDOW = 4 * 1024 * 1024
_CONNECTION_WINDOW = 16 * 1024 * 1024
"""What a caller may send ahead of our reading. Large, so that a large tensor is not held up."""

_WRITE_BUFFER = 256 * 1024
_KEEPALIVE_SECONDS = 60.0
"""A connection quiet for so long is pinged, and cut when it stays quiet for as long again."""

_GREETING_SECONDS = 20.0
_DRAIN_PING = b"draining"
_GREETING = b"".join(
    (
        frames.settings(streams=_MOST_STREAMS, window=_STREAM_WINDOW),
        frames.window_update(0, _CONNECTION_WINDOW - frames.DEFAULT_WINDOW),
    )
)


class Connections(OpenConnections["Connection"]):
    """The connections that come through a port, for one handler."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler.max_receive_message_length)
        self.handler = handler
        self.draining = False
        self.last_call = 0.0

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, self.loop)

    def drain(self) -> None:
        """Ask the callers to leave: those that are here, and those that still come."""
        self.draining = True
        self.last_call = self.loop.time()
        for connection in list(self.open):
            connection.drain()


class Connection(asyncio.Protocol):
    """One caller's connection: reads calls, and sends answers as the caller's windows allow."""

    def __init__(self, owner: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._handler = owner.handler
        self._loop = loop
        self._transport: asyncio.Transport
        self._decoder = HeaderDecoder()
        self._rpcs: dict[int, Rpc] = {}
        self._blocked: dict[int, Rpc] = {}  # answers that wait for a window
        self._rest = b""
        self._greeted = False
        self._configured = False
        self._headers: tuple[int, int, bytearray] | None = None  # stream, flags, block so far
        self._last_stream = 0
        self._window = frames.DEFAULT_WINDOW
        self._frame_size = frames.DEFAULT_FRAME_SIZE
        self._unread = 0
        self._last_read = 0.0
        self._pinged = False
        self._write_paused = False
        self._asked_to_leave = False
        self._draining = False
        self._closing = False
        self.peer_window = frames.DEFAULT_WINDOW
        self._on_frame: tuple[Callable[[int, int, bytes], None], ...] = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_reset,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
            self._on_continuation,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what this side takes."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._last_read = self._loop.time()
        self._owner.open.add(self)
        if self._owner.is_full:
            self._transport.abort()
        else:
            self._transport.write(_GREETING)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell the calls that nobody waits for them any more."""
        self._closing = True
        self._owner.open.discard(self)
        for number in list(self._rpcs):
            self._forget(number)

    def data_received(self, data: bytes) -> None:
        """Read frames; whole calls are handled meanwhile."""
        if self._closing:
            return
        self._last_read = self._loop.time()
        self._pinged = False
        if self._rest:
            data = self._rest + data
        try:
            self._rest = self._read(data)
        except ConnectionFailed as failure:
            self._transport.write(frames.goaway(self._last_stream, failure.code))
            self.close()

    def pause_writing(self) -> None:
        """Read nothing more from a caller that takes its answers too slowly."""
        self._write_paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        if not self._closing:
            self._transport.resume_reading()
            self._pump()

    def answer(self, rpc: Rpc, parts: Sequence[Any], length: int) -> None:
        """Send a call's message, at once if the caller's windows allow."""
        if rpc.id not in self._rpcs:
            return
        size = length + frames.MESSAGE.size
        block = frames.RESPONSE_HEADERS + frames.request_id_header(rpc.request_id)
        headers = frames.frame(frames.HEADERS, frames.END_HEADERS, rpc.id, block)
        message = (frames.MESSAGE.pack(0, length), *parts)
        if self._blocked or size > min(self._window, rpc.window, self._frame_size):
            self._transport.write(headers)
            rpc.output = memoryview(b"".join(message))
            self._blocked[rpc.id] = rpc
            self._pump()
            return
        self._window -= size
        data = frames.head(size, frames.DATA, 0, rpc.id)
        self._transport.write(b"".join((headers, data, *message, _trailers(rpc.id))))
        self._end(rpc)

    def fail(self, rpc: Rpc, code: Code, message: str) -> None:
        """Send a call's failure; what is left of its request is not wanted any more."""
        if rpc.id not in self._rpcs:
            return
        flags = frames.END_HEADERS | frames.END_STREAM
        block = frames.failure_headers(code, message, rpc.request_id)
        self._transport.write(frames.frame(frames.HEADERS, flags, rpc.id, block))
        self._end(rpc)

    def drain(self) -> None:
        """Ask the caller to make no more calls here.

        What it sent before it heard of that is answered: the ping that it returns comes after it.
        """
        if self._asked_to_leave:
            return
        self._asked_to_leave = True
        every = frames.goaway(frames.LARGEST_WINDOW, ErrorCode.NO_ERROR)
        self._transport.write(every + frames.frame(frames.PING, 0, 0, _DRAIN_PING))

    def close(self) -> None:
        """Close the connection once what was written is sent."""
        self._closing = True
        self._transport.close()

    def sweep(self, now: float) -> None:
        """End what is dead: calls past their deadline that are not whole, and silent callers."""
        for rpc in list(self._rpcs.values()):
            if not rpc.is_whole and now > rpc.deadline:
                rpc.fail(Code.DEADLINE_EXCEEDED, "the request did not arrive in time")
        quiet = now - self._last_read
        if quiet > (2 * _KEEPALIVE_SECONDS if self._configured else _GREETING_SECONDS):
            self._transport.abort()
        elif quiet > _KEEPALIVE_SECONDS and not self._pinged:
            self._pinged = True
            self._transport.write(frames.frame(frames.PING, 0, 0, bytes(8)))

    def _read(self, data: bytes) -> bytes:
        """Handle the whole frames; return what is left."""
        position, end = 0, len(data)
        if not self._greeted:
            if not data.startswith(frames.PREFACE[:end]):
                raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
            if end < len(frames.PREFACE):
                return data
            self._greeted = True
            position = len(frames.PREFACE)
        while end - position >= frames.HEAD.size and not self._closing:
            high, low, kind, flags, number = frames.HEAD.unpack_from(data, position)
            length = high << 8 | low
            if length > frames.DEFAULT_FRAME_SIZE:
                raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR)
            start = position + frames.HEAD.size
            stop = start + length
            if stop > end:
                break
            self._check_order(kind)
            if kind < len(self._on_frame):
                self._on_frame[kind](flags, number & frames.LARGEST_WINDOW, data[start:stop])
            position = stop
        return data[position:]

    def _check_order(self, kind: int) -> None:
        """Check that settings come first, and nothing between the parts of a header block."""
        if (self._headers is not None) != (kind == frames.CONTINUATION):
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        if not self._configured and kind != frames.SETTINGS:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if number % 2 == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        block = frames.content(flags, payload)
        if flags & frames.END_HEADERS:
            self._on_header_block(flags, number, block)
        else:
            self._headers = number, flags, bytearray(block)

    def _on_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._headers is None or self._headers[0] != number:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        _, first_flags, block = self._headers
        block += payload
        if len(block) > _MOST_HEADER_BYTES or not payload:
            raise ConnectionFailed(ErrorCode.ENHANCE_YOUR_CALM)
        if flags & frames.END_HEADERS:
            self._headers = None
            self._on_header_block(first_flags, number, bytes(block))

    def _on_header_block(self, flags: int, number: int, block: bytes) -> None:
        metadata = self._decoder.decode(block)  # always: the table is the connection's
        rpc = self._rpcs.get(number)
        if rpc is None:
            if number <= self._last_stream:
                return  # the trailers of a call that was answered early
            self._last_stream = number
            rpc = self._begin(number, metadata)
        elif rpc.is_whole or not flags & frames.END_STREAM:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        if flags & frames.END_STREAM and number in self._rpcs:
            self._complete(rpc)

    def _begin(self, number: int, metadata: Mapping[str, str]) -> Rpc:
        rpc = Rpc(self, number, metadata)
        if len(self._rpcs) >= _MOST_STREAMS or self._draining:
            self._transport.write(frames.reset(number, ErrorCode.REFUSED_STREAM))
        else:
            self._rpcs[number] = rpc
            self._handler.admit(rpc)
        if self._owner.draining:
            self._owner.last_call = self._loop.time()
            self.drain()  # not before its first call, or a new connection would be of no use
        return rpc

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        if number == 0 or number > self._last_stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        self._unread += len(payload)
        if self._unread > _CONNECTION_WINDOW // 2:
            self._transport.write(frames.window_update(0, self._unread))
            self._unread = 0
        rpc = self._rpcs.get(number)
        if rpc is None:
            return  # a call that was answered early
        if rpc.is_whole:
            raise ConnectionFailed(ErrorCode.STREAM_CLOSED)
        chunk = frames.content(flags & frames.PADDED, payload) if flags & frames.PADDED else payload
        limit = self._handler.max_receive_message_length
        self._owner.held_bytes += len(chunk)
        if self._owner.held_bytes > self._owner.most_held_bytes:
            rpc.size += len(chunk)  # gone with the call
            rpc.fail(Code.UNAVAILABLE, "too many large requests: try again shortly")
        elif chunk and not rpc.feed(chunk, limit):
            rpc.fail(
                Code.RESOURCE_EXHAUSTED,
                f"the message is larger than {limit} bytes: send fewer rows a request, or start "
                "the server with a larger --grpc_max_receive_message_length",
            )
        elif flags & frames.END_STREAM:
            self._complete(rpc)
        else:
            self._let_send(rpc, len(payload))

    def _let_send(self, rpc: Rpc, size: int) -> None:
        rpc.unread += size
        if rpc.unread > _STREAM_WINDOW // 2:
            self._transport.write(frames.window_update(rpc.id, rpc.unread))
            rpc.unread = 0

    def _complete(self, rpc: Rpc) -> None:
        rpc.is_whole = True
        message = rpc.message()
        if message is None:
            rpc.fail(Code.INVALID_ARGUMENT, "the call must have one whole message")
        else:
            self._handler.handle(rpc, message)

    def _on_reset(self, _: int, number: int, payload: bytes) -> None:
        if len(payload) != frames.UINT32.size:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR)
        if number == 0 or number > self._last_stream:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        self._forget(number)

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        if len(payload) % frames.SETTING.size or (flags & frames.ACK and payload):
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR)
        self._configured = True
        if flags & frames.ACK:
            return
        for setting, value in frames.SETTING.iter_unpack(payload):
            if setting == frames.SETTING_WINDOW:
                self._resize_windows(value)
            elif setting == frames.SETTING_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_SIZE <= value < 1 << 24:
                    raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
                self._frame_size = value
        self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._pump()

    def _resize_windows(self, size: int) -> None:
        """Give every stream what the peer's initial window has grown by, or less."""
        if size > frames.LARGEST_WINDOW:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR)
        for rpc in self._rpcs.values():
            rpc.window += size - self.peer_window
        self.peer_window = size

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        if len(payload) != len(_DRAIN_PING):
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR)
        if not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _DRAIN_PING:
            self._draining = True
            self._transport.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
            self._close_if_drained()

    def _on_window_update(self, _: int, number: int, payload: bytes) -> None:
        if len(payload) != frames.UINT32.size:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR)
        increment = frames.UINT32.unpack(payload)[0] & frames.LARGEST_WINDOW
        if number > self._last_stream or not increment:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        if number == 0:
            self._window += increment
        elif rpc := self._rpcs.get(number):
            rpc.window += increment
            if rpc.window > frames.LARGEST_WINDOW:
                self._transport.write(frames.reset(number, ErrorCode.FLOW_CONTROL_ERROR))
                self._forget(number)
        if self._window > frames.LARGEST_WINDOW:
            raise ConnectionFailed(ErrorCode.FLOW_CONTROL_ERROR)
        if self._blocked:
            self._pump()

    def _on_priority(self, _: int, number: int, payload: bytes) -> None:
        if number == 0:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
        if len(payload) != 5:
            raise ConnectionFailed(ErrorCode.FRAME_SIZE_ERROR)

    def _on_push_promise(self, _: int, __: int, ___: bytes) -> None:
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)

    def _on_goaway(self, _: int, number: int, ___: bytes) -> None:
        """Go on: the caller closes the connection when it has its answers."""
        if number:
            raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)

    def _pump(self) -> None:
        """Send what the windows allow of the answers that wait for them."""
        for rpc in list(self._blocked.values()):
            while rpc.output and not self._write_paused:
                size = min(len(rpc.output), self._window, rpc.window, self._frame_size)
                if size <= 0:
                    break
                self._window -= size
                rpc.window -= size
                self._transport.writelines(
                    (frames.head(size, frames.DATA, 0, rpc.id), rpc.output[:size])
                )
                rpc.output = rpc.output[size:]
            if not rpc.output:
                self._transport.write(_trailers(rpc.id))
                self._end(rpc)

    def _end(self, rpc: Rpc) -> None:
        """Forget a call that is answered; what it still sends is not wanted."""
        if not rpc.is_whole:
            self._transport.write(frames.reset(rpc.id, ErrorCode.NO_ERROR))
        del self._rpcs[rpc.id]
        self._owner.held_bytes -= rpc.size
        self._blocked.pop(rpc.id, None)
        if self._draining:
            self._close_if_drained()

    def _forget(self, number: int) -> None:
        """Forget a call whose caller does not wait for it any more."""
        self._blocked.pop(number, None)
        rpc = self._rpcs.pop(number, None)
        if rpc is not None:
            self._owner.held_bytes -= rpc.size
            if rpc.on_gone is not None:
                rpc.on_gone()
        if self._draining:
            self._close_if_drained()

    def _close_if_drained(self) -> None:
        if not self._rpcs and not self._closing:
            self.close()


def _trailers(number: int) -> bytes:
    flags = frames.END_HEADERS | frames.END_STREAM
    return frames.frame(frames.HEADERS, flags, number, frames.OK_TRAILERS)
