"""HTTP/2 frames and header blocks, as far as a gRPC server needs them.

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK) and gRPC's `PROTOCOL-HTTP2.md`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from urllib.parse import quote_from_bytes

from hpack import Decoder, HPACKError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20
SETTING_MOST_STREAMS, SETTING_WINDOW, SETTING_FRAME_SIZE = 3, 4, 5

HEAD = struct.Struct(">HBBBI")  # length (16 + 8 bits), kind, flags, stream
SETTING = struct.Struct(">HI")
UINT32 = struct.Struct(">I")
MESSAGE = struct.Struct(">BI")  # whether a message is compressed, and its length
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
LARGEST_WINDOW = 2**31 - 1

_LARGEST_HEADER_LIST = 16 * 1024
_MOST_KNOWN_BLOCKS = 64
_LONGEST_MESSAGE = 1300  # bytes, three times as many when quoted: clients take 8 KiB of headers


class ErrorCode(IntEnum):
    """HTTP/2's error codes."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFailed(Exception):
    """The peer broke HTTP/2: the connection ends with this code."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Return the nine bytes before a frame's payload."""
    return HEAD.pack(length >> 8, length & 255, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a whole frame."""
    return head(len(payload), kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """Return a SETTINGS frame."""
    numbers = {"streams": SETTING_MOST_STREAMS, "window": SETTING_WINDOW}
    return frame(
        SETTINGS, 0, 0, b"".join(SETTING.pack(numbers[name], v) for name, v in values.items())
    )


def reset(stream: int, code: ErrorCode) -> bytes:
    """Return a frame that ends a stream."""
    return frame(RST_STREAM, 0, stream, UINT32.pack(code))


def goaway(last_stream: int, code: ErrorCode) -> bytes:
    """Return a frame that says which streams are still answered."""
    return frame(GOAWAY, 0, 0, UINT32.pack(last_stream) + UINT32.pack(code))


def window_update(stream: int, increment: int) -> bytes:
    """Return a frame that lets the peer send more."""
    return frame(WINDOW_UPDATE, 0, stream, UINT32.pack(increment))


def content(flags: int, payload: bytes) -> bytes:
    """Take the padding off a DATA or HEADERS payload, and the priority off the latter."""
    end = len(payload)
    start = 0
    if flags & PADDED:
        start = 1
        end -= payload[0] if payload else 1
    if flags & HAS_PRIORITY:
        start += 5
    if start > end:
        raise ConnectionFailed(ErrorCode.PROTOCOL_ERROR)
    return payload[start:end]


class HeaderDecoder:
    """Decodes the header blocks of one connection.

    Callers send the same headers again and again: an indexed block of few bytes that means the
    same as long as the dynamic table does not change. Such blocks are decoded once.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(_LARGEST_HEADER_LIST)
        self._known: dict[bytes, Mapping[str, str]] = {}

    def decode(self, block: bytes) -> Mapping[str, str]:
        """Return the headers by name; of repeated ones the last counts."""
        known = self._known.get(block)
        return self._decode(block) if known is None else known

    def _decode(self, block: bytes) -> Mapping[str, str]:
        before = self._table()
        try:
            pairs = self._decoder.decode(block, raw=True)
        except HPACKError:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR) from None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
        after = self._table()
        if before[0] is not after[0] or before != after or len(self._known) >= _MOST_KNOWN_BLOCKS:
            self._known.clear()
        if before[0] is after[0] and before == after:
            self._known[block] = headers
        return headers

    def _table(self) -> tuple[object, int, int]:
        """Return what tells a changed table: a new entry is a new object, and the first one."""
        table = self._decoder.header_table
        entries = table.dynamic_entries
        return entries[0] if entries else None, len(entries), table.maxsize


def field(name: bytes, value: bytes) -> bytes:
    """Return a header as a literal that no table keeps."""
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    """Encode a string as HPACK does, without Huffman's code."""
    length = len(text)
    if length < 127:
        return bytes([length]) + text
    encoded = bytearray([127])
    length -= 127
    while length > 127:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + text


_STATUS_200 = b"\x88"  # entry 8 of HPACK's static table
RESPONSE_HEADERS = _STATUS_200 + field(b"content-type", b"application/grpc")
OK_TRAILERS = field(b"grpc-status", b"0")


def request_id_header(request_id: str | None) -> bytes:
    """Return the header that names the request in the server's log, if it has a name."""
    if request_id is None:
        return b""
    return field(b"x-request-id", request_id.encode("latin-1", "replace"))


def failure_headers(code: int, message: str, request_id: str | None = None) -> bytes:
    """Return the header block of an answer without a message ("Trailers-Only")."""
    text = message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore").encode()
    # The characters from space to tilde but the percent sign stay as they are.
    quoted = quote_from_bytes(text, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()
    return b"".join(
        (
            RESPONSE_HEADERS,
            request_id_header(request_id),
            field(b"grpc-status", b"%d" % code),
            field(b"grpc-message", quoted),
        )
    )
