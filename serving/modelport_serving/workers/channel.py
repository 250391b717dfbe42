"""What the supervisor and a worker tell each other: JSON objects, one a line, on a socket pair.

    from the supervisor                         from a worker
    start   number, unloaded, ... (once)        ready
    apply   id, action, model                   failed  error (it cannot start)
    answer  id, error                           ask     id, action, model
                                                applied id, error

An `error` is null, or the class and the text of a `ServingError`: it is raised as it was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import StrEnum
from typing import Any

from modelport_serving import errors
from modelport_serving.errors import ServingError

Message = dict[str, Any]

CHANNEL_VARIABLE = "MODELPORT_WORKER_CHANNEL"
"""The environment variable that makes a process a worker: its end's file descriptor."""

LONGEST_LINE = 1 << 24
"""Bytes of one message, far above what a model's name in a request can bring about."""


class Action(StrEnum):
    """What may be asked for a model."""

    LOAD = "load"
    UNLOAD = "unload"


def encode(kind: str, **fields: object) -> bytes:
    """Write one message."""
    return json.dumps({"type": kind, **fields}).encode() + b"\n"


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    """Read messages until the other side is gone."""
    # A side that ends with messages unread resets the connection.
    with suppress(ConnectionError):
        while (line := await reader.readline()).endswith(b"\n"):
            yield json.loads(line)


def from_error(error: ServingError | None) -> list[str] | None:
    """Write an error as a message's field."""
    return None if error is None else [type(error).__name__, str(error)]


def to_error(field: list[str] | None) -> ServingError | None:
    """Read an error from a message's field, as an instance of the class that it was."""
    if field is None:
        return None
    name, text = field
    cls: type[ServingError] = getattr(errors, name, ServingError)
    return cls(text)
