"""gRPC's status codes, and the one table that maps errors to them."""

from __future__ import annotations

import logging
from enum import IntEnum

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


class Code(IntEnum):
    """The status codes of gRPC that this server answers."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


CODES: dict[type[Exception], Code] = {
    InvalidInput: Code.INVALID_ARGUMENT,
    ModelNotFound: Code.NOT_FOUND,
    PayloadTooLarge: Code.RESOURCE_EXHAUSTED,
    Unauthenticated: Code.UNAUTHENTICATED,
    NotSupported: Code.UNIMPLEMENTED,
    ModelNotReady: Code.UNAVAILABLE,
    Overloaded: Code.UNAVAILABLE,
    UpstreamFailed: Code.UNAVAILABLE,
    DeadlineExceeded: Code.DEADLINE_EXCEEDED,
}
"""Every other error is the server's or the model's own: INTERNAL."""


def status_of(error: Exception) -> tuple[Code, str]:
    """Return the code and the message of a failure; log what is not the caller's doing."""
    code = CODES.get(type(error), Code.INTERNAL)
    if code is Code.INTERNAL:
        log.error("%s", error, exc_info=error)
    if isinstance(error, ServingError):
        return code, str(error)
    return code, f"internal error ({type(error).__name__}), see the log"
