"""The least that a Python handler can do, as an ASGI callable for uvicorn: infer, and echo."""

from __future__ import annotations

from typing import Any

import forest
import orjson

_predict = forest.Forest()
_JSON = [(b"content-type", b"application/json")]


async def infer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer a V2 request."""
    if scope["type"] != "http":
        return
    rows = forest.rows_of(orjson.loads(await _body(receive)))
    document = forest.response(*_predict(rows))
    await _answer(send, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the request's body."""
    if scope["type"] == "http":
        await _answer(send, await _body(receive))


async def _body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def _answer(send: Any, body: bytes) -> None:
    headers = [*_JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
