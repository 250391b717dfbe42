"""From one RSGI request to an ASGI application and back: FastAPI behind Granian's RSGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from modelport_serving.rest.replies import Headers, Reply

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


async def call_asgi(app: AsgiApp, scope: Any, body: bytes) -> Reply:
    """Call an ASGI application with a whole body and collect its whole answer."""
    status = 500
    headers: Headers = []
    parts: list[bytes] = []
    unread = True

    async def receive() -> Message:
        nonlocal unread
        if not unread:
            return {"type": "http.disconnect"}
        unread = False
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.extend(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            )
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(_asgi_scope(scope), receive, send)
    return Reply(status, headers, b"".join(parts))


def _asgi_scope(scope: Any) -> Message:
    host, _, port = scope.client.rpartition(":")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "root_path": "",
        "query_string": scope.query_string.encode("latin-1"),
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in scope.headers.items()
        ],
        "client": (host, int(port)) if port.isdigit() else None,
        "server": None,
    }
