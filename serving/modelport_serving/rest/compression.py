"""Content codings: gzip and deflate, in requests and answers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelport_serving.errors import InvalidInput
from modelport_serving.rest.replies import Reply

if TYPE_CHECKING:
    from modelport_serving.rest.connection import Request

_WINDOWS = {"gzip": 31, "deflate": 15}
_WORTH_BYTES = 16 * 1024
"""Smaller answers are sent as they are: compressing them takes longer than sending them."""

_LEVEL = 1


def expand(request: Request, most: int, too_large: Callable[[], Exception]) -> bytes:
    """Return the request's body as it was before it was compressed, `most` bytes at most."""
    coding = request.headers["content-encoding"].lower()
    if coding == "identity":
        return request.body
    if coding not in _WINDOWS:
        raise InvalidInput(f"unknown Content-Encoding {coding!r}: gzip or deflate")
    expander = zlib.decompressobj(_WINDOWS[coding])
    try:
        body = expander.decompress(request.body, most + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not valid {coding}: {error}") from None
    if len(body) > most:
        raise too_large()
    if not expander.eof:
        raise InvalidInput(f"the body is not valid {coding}: it ends too early")
    return body


def compress(request: Request, reply: Reply) -> Reply:
    """Compress a large answer for a caller that accepts it."""
    accepted = request.headers.get("accept-encoding", "")
    if len(reply.body) < _WORTH_BYTES:
        return reply
    for coding, window in _WINDOWS.items():
        if coding in accepted:
            packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, window)
            body = packer.compress(reply.body) + packer.flush()
            headers = [*reply.headers, ("content-encoding", coding), ("vary", "accept-encoding")]
            return Reply(reply.status, headers, body)
    return reply
