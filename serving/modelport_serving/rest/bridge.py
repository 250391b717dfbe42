"""From a request to an ASGI application and back: FastAPI behind our own HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from modelport_serving.rest.replies import Headers, Reply

if TYPE_CHECKING:
    from modelport_serving.rest.connection import Request

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


async def call_asgi(app: AsgiApp, request: Request) -> Reply:
    """Call an ASGI application with a whole request and collect its whole answer."""
    status = 500
    headers: Headers = []
    parts: list[bytes] = []
    unread = True

    async def receive() -> Message:
        nonlocal unread
        if not unread:
            await asyncio.get_running_loop().create_future()  # until the application is done
        unread = False
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.extend(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
                if name.lower() != b"content-length"  # told anew with the whole answer
            )
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(_asgi_scope(request), receive, send)
    return Reply(status, headers, b"".join(parts))


def _asgi_scope(request: Request) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method.decode("ascii"),
        "scheme": request.scheme,
        "path": request.path,
        "root_path": "",
        "query_string": request.query,
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in request.headers.items()
        ],
        "client": request.client,
        "server": None,
    }
