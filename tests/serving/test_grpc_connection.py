"""HTTP/2 as gRPC's callers speak it, over real sockets: what is answered, and what is refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport_serving.grpc import frames
from modelport_serving.grpc.connection import Connections
from modelport_serving.grpc.frames import ConnectionFailed, ErrorCode, HeaderDecoder
from modelport_serving.grpc.status import Code

if TYPE_CHECKING:
    from modelport_serving.grpc.rpc import Rpc

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/echo"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
START = frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0)
LIMIT = 1_000_000


class Echo:
    """Answers every call with its own message; `/later` when it is told to."""

    max_receive_message_length = LIMIT

    def __init__(self) -> None:
        self.waiting: list[tuple[Rpc, bytes]] = []
        self.gone = 0

    def admit(self, rpc: Rpc) -> None:
        rpc.on_gone = self._count
        rpc.deadline = asyncio.get_running_loop().time() + 30
        if rpc.path == "/refused":
            rpc.fail(Code.UNIMPLEMENTED, "not 100% here: é")

    def handle(self, rpc: Rpc, message: memoryview) -> None:
        if rpc.path == "/later":
            self.waiting.append((rpc, bytes(message)))
        else:
            rpc.answer((message,), len(message))

    def answer(self) -> None:
        for rpc, message in self.waiting:
            rpc.answer((message,), len(message))
        self.waiting.clear()

    def _count(self) -> None:
        self.gone += 1


class Peer:
    """The caller's side of a connection."""

    def __init__(self, handler: Echo, connections: Connections, end: socket.socket) -> None:
        self.handler = handler
        self.connections = connections
        self.encoder = Encoder()
        self.decoder = Decoder()
        self._socket = end
        self._loop = asyncio.get_running_loop()
        self._data = b""

    async def send(self, *parts: bytes) -> None:
        await self._loop.sock_sendall(self._socket, b"".join(parts))

    async def receive(self) -> tuple[int, int, int, bytes] | None:
        """Return the next frame: kind, flags, stream, payload. None at the end."""
        while True:
            if len(self._data) >= 9:
                high, low, kind, flags, number = frames.HEAD.unpack_from(self._data)
                end = 9 + (high << 8 | low)
                if len(self._data) >= end:
                    payload, self._data = self._data[9:end], self._data[end:]
                    return kind, flags, number, payload
            try:
                data = await self._loop.sock_recv(self._socket, 1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._data += data

    async def until(self, kind: int, flags: int = 0) -> tuple[int, bytes]:
        """Skip to a frame of this kind with these flags; return its stream and payload."""
        while (received := await self.receive()) is not None:
            if received[0] == kind and received[1] & flags == flags:
                return received[2:]
        pytest.fail(f"no frame of kind {kind} came")

    async def rest(self) -> list[tuple[int, int, int, bytes]]:
        """Say that nothing more comes, and return all the frames that do."""
        self._socket.shutdown(socket.SHUT_WR)
        received = []
        while (got := await self.receive()) is not None:
            received.append(got)
        return received

    def headers(self, number: int, path: str = "/echo", *, end: bool = False) -> bytes:
        block = self.encoder.encode([*REQUEST[:2], (":path", path), *REQUEST[3:]])
        flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
        return frames.frame(frames.HEADERS, flags, number, block)


def message(data: bytes) -> bytes:
    return frames.MESSAGE.pack(0, len(data)) + data


def body(number: int, data: bytes) -> bytes:
    """Return DATA frames with a whole message."""
    whole = message(data)
    size = frames.DEFAULT_FRAME_SIZE
    cuts = [whole[start : start + size] for start in range(0, len(whole), size)]
    return b"".join(
        frames.frame(frames.DATA, frames.END_STREAM if cut is cuts[-1] else 0, number, cut)
        for cut in cuts
    )


def talk(conversation: Callable[[Peer], Coroutine[Any, Any, None]]) -> None:
    """Hold a conversation with a connection of its own."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: problems.append(context))
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        handler = Echo()
        connections = Connections(handler)
        await loop.connect_accepted_socket(connections, ours)
        try:
            await asyncio.wait_for(conversation(Peer(handler, connections, theirs)), 20)
        finally:
            connections.close()
            theirs.close()
        await asyncio.sleep(0)
        assert not problems

    asyncio.run(run())


def answers(received: list[tuple[int, int, int, bytes]]) -> dict[int, bytes]:
    """Return the messages of the streams that were answered whole."""
    data: dict[int, bytes] = {}
    whole: dict[int, bytes] = {}
    for kind, flags, number, payload in received:
        if kind == frames.DATA:
            data[number] = data.get(number, b"") + payload
        elif kind == frames.HEADERS and flags & frames.END_STREAM and number in data:
            whole[number] = data[number][5:]
    return whole


def status(peer: Peer, received: list[tuple[int, int, int, bytes]]) -> list[dict[str, str]]:
    """Return the trailers of the streams that ended."""
    blocks = [(flags, block) for kind, flags, _, block in received if kind == frames.HEADERS]
    decoded = [(flags, dict(peer.decoder.decode(block))) for flags, block in blocks]
    return [headers for flags, headers in decoded if flags & frames.END_STREAM]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.data())
@settings(max_examples=50)
def test_however_the_bytes_are_cut(texts: list[bytes], data: st.DataObject) -> None:
    async def conversation(peer: Peer) -> None:
        stream = START
        for number, text in enumerate(texts):
            stream += peer.headers(2 * number + 1) + body(2 * number + 1, text)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            await peer.send(stream[start:end])
            await asyncio.sleep(0)
        expected = {2 * number + 1: text for number, text in enumerate(texts)}
        assert answers(await peer.rest()) == expected

    talk(conversation)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 11), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)
        )
    )
)
@settings(max_examples=100)
def test_any_frames_end_with_an_answer_or_a_goaway(sent: list[tuple[int, int, int, bytes]]) -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, peer.headers(1), *(frames.frame(*frame) for frame in sent))
        assert (await peer.rest())[0][0] == frames.SETTINGS

    talk(conversation)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=100)
def test_any_bytes_end_with_a_goaway_at_most(sent: bytes, greeted: bool) -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START if greeted else b"", sent)
        assert (await peer.rest())[0][0] == frames.SETTINGS

    talk(conversation)


# Few headers, so that the same blocks come again while the table has changed.
HEADER = st.tuples(st.sampled_from(["x-a", "x-b"]), st.sampled_from(["1", "2"]), st.booleans())
HEADER_LISTS = st.lists(st.lists(HEADER, min_size=1, max_size=2), max_size=30)


@given(HEADER_LISTS, st.sampled_from([0, 64, 4096]))
def test_known_header_blocks_mean_what_they_say(sent: Any, table_size: int) -> None:
    encoder = Encoder()
    encoder.header_table_size = table_size  # a small one forgets entries all the time
    decoder = HeaderDecoder()
    for headers in sent:
        pairs = [(name, value) for name, value, _ in headers]
        block = encoder.encode(headers)
        assert decoder.decode(block) == dict(pairs)


def test_a_block_that_changes_the_table_is_decoded_each_time() -> None:
    decoder = HeaderDecoder()
    keep_b, keep_a = b"\x40\3x-b\0012", b"\x40\3x-a\0011"

    for block in (keep_b, keep_a, keep_a):
        decoder.decode(block)

    assert decoder.decode(b"\xbe") == decoder.decode(b"\xbf") == {"x-a": "1"}
    assert decoder.decode(b"\xc0") == {"x-b": "2"}


def test_a_window_holds_answers_up() -> None:
    async def conversation(peer: Peer) -> None:
        text = bytes(range(256)) * 1000
        window = frames.settings(window=10)
        await peer.send(frames.PREFACE, window, peer.headers(1), body(1, text))
        received = b""
        while len(received) < len(text) + 5:
            number, piece = await peer.until(frames.DATA)
            assert number == 1
            assert len(piece) <= (10 if not received else 20_000)
            received += piece
            await peer.send(
                frames.window_update(1, 20_000 if len(received) == 10 else len(piece)),
                frames.window_update(0, 20_000),
            )
        assert received[5:] == text
        await peer.until(frames.HEADERS, frames.END_STREAM)

    talk(conversation)


def test_a_larger_initial_window_frees_answers() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(
            frames.PREFACE, frames.settings(window=0), peer.headers(1), body(1, b"hello")
        )
        await peer.until(frames.HEADERS)
        await peer.send(frames.settings(window=100))
        assert answers(await peer.rest()) == {1: b"hello"}

    talk(conversation)


def test_padding_priority_and_continuation() -> None:
    async def conversation(peer: Peer) -> None:
        block = peer.encoder.encode(REQUEST)
        flags = frames.PADDED | frames.HAS_PRIORITY
        first = b"\3" + bytes(5) + block[:4] + bytes(3)
        data = b"\2" + message(b"hi") + bytes(2)
        await peer.send(
            START,
            frames.frame(frames.HEADERS, flags, 1, first),
            frames.frame(frames.CONTINUATION, 0, 1, block[4:6]),
            frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[6:]),
            frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
            frames.frame(99, 0, 1, b"unknown kinds are passed over"),
            frames.frame(frames.DATA, frames.PADDED | frames.END_STREAM, 1, data),
        )
        assert answers(await peer.rest()) == {1: b"hi"}

    talk(conversation)


def test_a_call_may_end_with_trailers() -> None:
    async def conversation(peer: Peer) -> None:
        trailers = peer.encoder.encode([("x", "y")])
        await peer.send(
            START,
            peer.headers(1),
            frames.frame(frames.DATA, 0, 1, message(b"hi")),
            frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, trailers),
        )
        assert answers(await peer.rest()) == {1: b"hi"}

    talk(conversation)


def test_an_early_failure_ends_the_upload() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, peer.headers(1, "/refused"), peer.headers(3))
        await peer.send(body(1, b"unwanted"), body(3, b"hi"))
        received = await peer.rest()
        (failed, ok) = status(peer, received)
        assert failed["grpc-status"] == str(int(Code.UNIMPLEMENTED))
        assert failed["grpc-message"] == "not 100%25 here: %C3%A9"
        assert ok["grpc-status"] == "0"
        reset = (frames.RST_STREAM, 0, 1, frames.UINT32.pack(ErrorCode.NO_ERROR))
        assert reset in received

    talk(conversation)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        frames.MESSAGE.pack(0, 5) + b"four",
        message(b"one") + message(b"two"),
        frames.MESSAGE.pack(7, 0),
    ],
)
def test_a_call_has_one_whole_message(data: bytes) -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(
            START, peer.headers(1), frames.frame(frames.DATA, frames.END_STREAM, 1, data)
        )
        (failed,) = status(peer, await peer.rest())
        assert failed["grpc-status"] == str(int(Code.INVALID_ARGUMENT))

    talk(conversation)


def test_too_large_a_message_is_refused_by_its_length() -> None:
    async def conversation(peer: Peer) -> None:
        announced = frames.MESSAGE.pack(0, LIMIT + 1)
        await peer.send(START, peer.headers(1), peer.headers(3), peer.headers(5))
        await peer.send(frames.frame(frames.DATA, 0, 1, announced))
        for part in (announced[:2], announced[2:]):  # even if the length comes in pieces
            await peer.send(frames.frame(frames.DATA, 0, 3, part))
        await peer.send(body(5, bytes(LIMIT)))
        numbers = [(await peer.until(frames.HEADERS, frames.END_STREAM))[0] for _ in range(2)]
        assert numbers == [1, 3]

    talk(conversation)


def test_a_cancelled_call_is_not_answered() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, peer.headers(1, "/later"), body(1, b"a"))
        await peer.send(peer.headers(3, "/later"), body(3, b"b"))
        await peer.send(frames.reset(1, ErrorCode.NO_ERROR))
        await peer.send(frames.frame(frames.PING, 0, 0, b"in order"))
        await peer.until(frames.PING, frames.ACK)
        assert peer.handler.gone == 1
        peer.handler.answer()
        assert answers(await peer.rest()) == {3: b"b"}

    talk(conversation)


def test_the_end_of_a_connection_cancels_its_calls() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, peer.headers(1, "/later"), body(1, b"a"))
        await peer.rest()
        assert peer.handler.gone == 1
        assert not peer.connections.open
        peer.handler.answer()

    talk(conversation)


def test_draining_answers_what_was_sent_before_it_was_heard_of() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, peer.headers(1, "/later"), body(1, b"a"))
        await peer.send(frames.frame(frames.PING, 0, 0, b"in order"))
        await peer.until(frames.PING, frames.ACK)
        peer.connections.drain()
        assert (await peer.until(frames.GOAWAY))[1][:4] == b"\x7f\xff\xff\xff"
        await peer.send(peer.headers(3, "/later"), body(3, b"b"))
        _, ping = await peer.until(frames.PING)
        await peer.send(frames.frame(frames.PING, frames.ACK, 0, ping))
        assert (await peer.until(frames.GOAWAY))[1][:4] == frames.UINT32.pack(3)
        peer.handler.answer()
        received = []
        while (got := await peer.receive()) is not None:  # the server closes the connection
            received.append(got)
        assert answers(received) == {1: b"a", 3: b"b"}

    talk(conversation)


def test_more_streams_than_allowed_are_refused_for_another_try() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, *(peer.headers(2 * n + 1, "/later") for n in range(1025)))
        assert await peer.until(frames.RST_STREAM) == (
            2049,
            frames.UINT32.pack(ErrorCode.REFUSED_STREAM),
        )

    talk(conversation)


def test_a_silent_caller_is_pinged_and_then_cut() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, frames.frame(frames.PING, 0, 0, b"in order"))
        await peer.until(frames.PING, frames.ACK)
        now = asyncio.get_running_loop().time()
        (connection,) = peer.connections.open
        connection.sweep(now + 61)
        connection.sweep(now + 62)  # one ping is enough
        await peer.until(frames.PING)
        await peer.send(frames.frame(frames.PING, frames.ACK, 0, bytes(8)))
        await peer.send(frames.frame(frames.PING, 0, 0, b"in order"))
        assert (await peer.until(frames.PING))[1] == b"in order"
        connection.sweep(now + 140)
        assert await peer.receive() is None

    talk(conversation)


def test_who_never_greets_is_cut() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.until(frames.SETTINGS)
        (connection,) = peer.connections.open
        connection.sweep(asyncio.get_running_loop().time() + 21)
        assert (await peer.receive() or (frames.WINDOW_UPDATE,))[0] == frames.WINDOW_UPDATE
        assert await peer.receive() is None

    talk(conversation)


def test_a_message_that_does_not_come_in_time_is_not_waited_for() -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(START, peer.headers(1), peer.headers(3, "/later"), body(3, b"whole"))
        await peer.send(frames.frame(frames.PING, 0, 0, b"in order"))
        await peer.until(frames.PING, frames.ACK)
        (connection,) = peer.connections.open
        connection.sweep(asyncio.get_running_loop().time() + 31)
        number, block = await peer.until(frames.HEADERS, frames.END_STREAM)
        headers = dict(peer.decoder.decode(block))
        assert (number, headers["grpc-status"]) == (1, str(int(Code.DEADLINE_EXCEEDED)))
        peer.handler.answer()
        assert answers(await peer.rest()) == {3: b"whole"}

    talk(conversation)


def h(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return frames.frame(kind, flags, number, payload)


BLOCK = Encoder().encode(REQUEST)
ENDED = h(frames.HEADERS, 5, 1, BLOCK)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + h(frames.PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.HEADERS, 4, 2, BLOCK), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.HEADERS, 4, 0, BLOCK), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.HEADERS, 4, 1, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (START + h(frames.HEADERS, 12, 1, b"\x09ab"), ErrorCode.PROTOCOL_ERROR),
        (
            START + h(frames.HEADERS, 0, 1, BLOCK) + h(frames.PING, 0, 0, bytes(8)),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (
            START + h(frames.HEADERS, 0, 1) + h(frames.CONTINUATION, 0, 3, b"a"),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (
            START + h(frames.HEADERS, 0, 1) + h(frames.CONTINUATION, 0, 1),
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        (
            START + h(frames.HEADERS, 0, 1) + h(frames.CONTINUATION, 0, 1, bytes(16_000)) * 2,
            ErrorCode.ENHANCE_YOUR_CALM,
        ),
        (START + h(frames.CONTINUATION, 4, 1, BLOCK), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
        (START + h(frames.RST_STREAM, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
        (START + ENDED + h(frames.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
        (START + h(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (START + h(frames.SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
        (START + frames.settings(window=2**31), ErrorCode.FLOW_CONTROL_ERROR),
        (START + h(frames.SETTINGS, 0, 0, frames.SETTING.pack(5, 1)), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (START + h(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.PUSH_PROMISE, 4, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
        (START + h(frames.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
        (START + frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (START + frames.window_update(5, 1), ErrorCode.PROTOCOL_ERROR),
        (START + frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (START + h(frames.WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_who_breaks_the_protocol_is_told_how(sent: bytes, code: ErrorCode) -> None:
    async def conversation(peer: Peer) -> None:
        await peer.send(sent)
        _, payload = await peer.until(frames.GOAWAY)
        assert frames.UINT32.unpack_from(payload, 4) == (code,)
        assert await peer.receive() is None

    talk(conversation)


def test_an_oversized_header_list_ends_the_connection() -> None:
    decoder = HeaderDecoder()
    block = frames.field(b"x", bytes(10_000)) * 2
    with pytest.raises(ConnectionFailed) as failure:
        decoder.decode(block)
    assert failure.value.code is ErrorCode.COMPRESSION_ERROR


@given(st.text(max_size=3000))
def test_failures_fit_into_headers(text: str) -> None:
    text = text.encode(errors="replace").decode()
    headers = dict(Decoder().decode(frames.failure_headers(Code.INTERNAL, text)))

    assert headers["grpc-status"] == "13"
    assert headers["grpc-message"].isascii()
    assert len(headers["grpc-message"]) < 4000
