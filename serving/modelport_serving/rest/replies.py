"""What the REST edge answers, and the one table that maps errors to HTTP."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import orjson

from modelport_serving.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    NotSupported,
    Overloaded,
    PayloadTooLarge,
    ServingError,
    Unauthenticated,
    UpstreamFailed,
)

log = logging.getLogger("modelport_serving")

Headers = list[tuple[str, str]]
JSON_HEADERS: Headers = [("content-type", "application/json")]

STATUS: dict[type[Exception], int] = {
    InvalidInput: 400,
    Unauthenticated: 401,
    ModelNotFound: 404,
    PayloadTooLarge: 413,
    NotSupported: 501,
    UpstreamFailed: 502,
    ModelNotReady: 503,
    Overloaded: 503,
    DeadlineExceeded: 504,
}
"""Every other error is the server's or the model's own: 500."""


class Reply(NamedTuple):
    """A whole HTTP response."""

    status: int
    headers: Headers
    body: bytes


def json_reply(content: Any, status: int = 200) -> Reply:
    """Answer with JSON; numpy arrays are written as they are, NaN and infinities as null."""
    return Reply(status, JSON_HEADERS, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


def error_reply(error: Exception) -> Reply:
    """Answer with `{"error": ...}` and the error's code; log what is not the caller's doing."""
    status = STATUS.get(type(error), 500)
    if status == 500:
        log.error("%s", error, exc_info=error)
    known = isinstance(error, ServingError)
    message = str(error) if known else f"internal error ({type(error).__name__}), see the log"
    reply = json_reply({"error": message}, status)
    if isinstance(error, Overloaded):
        return reply._replace(headers=[*reply.headers, ("retry-after", str(error.retry_after))])
    return reply
