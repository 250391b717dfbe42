"""The least that a Python handler can do, as an RSGI callable for Granian: infer, and echo."""

from __future__ import annotations

from typing import Any

import forest
import orjson

_predict = forest.Forest()
_JSON = [("content-type", "application/json")]


async def infer(scope: Any, protocol: Any) -> None:
    """Answer a V2 request."""
    del scope
    rows = forest.rows_of(orjson.loads(await protocol()))
    document = forest.response(*_predict(rows))
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    protocol.response_bytes(200, _JSON, body)


async def echo(scope: Any, protocol: Any) -> None:
    """Answer with the request's body."""
    del scope
    protocol.response_bytes(200, _JSON, await protocol())
