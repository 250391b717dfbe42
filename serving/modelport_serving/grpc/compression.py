"""Compressed request messages: gzip and deflate, as gRPC's clients offer them."""

from __future__ import annotations

import zlib

from modelport_serving.errors import InvalidInput, NotSupported, PayloadTooLarge

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def expand(message: memoryview, encoding: str, limit: int) -> memoryview:
    """Expand a message, but not beyond the limit in bytes: a small one may hold gigabytes."""
    if encoding not in _WINDOW_BITS:
        raise NotSupported(f"grpc-encoding {encoding!r} is not supported: use gzip or deflate")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        expanded = inflater.decompress(message, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the message is not valid {encoding}: {error}") from None
    if len(expanded) > limit:
        raise PayloadTooLarge(f"the message is larger than {limit} bytes once it is expanded")
    if not inflater.eof:
        raise InvalidInput(f"the message is not valid {encoding}: it ends too early")
    return memoryview(expanded)
