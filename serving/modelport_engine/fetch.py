"""Minimal asynchronous HTTP requests, over TCP on this machine or a Unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import h11

from modelport_engine.paths import reachable

_BODY_LIMIT = 8 * 1024 * 1024
_CHUNK = 65_536


class Answer(NamedTuple):
    """Status code and body."""

    status: int
    body: bytes


async def get(address: int | Path, target: str, timeout: float) -> Answer | None:
    """GET a path from a loopback port or a Unix socket; None when there is no whole answer.

    Args:
        address: A TCP port on 127.0.0.1, or a Unix socket.
        target: Path and query.
        timeout: Seconds for the whole exchange.
    """
    return await _ask("GET", address, target, timeout)


async def post(address: int | Path, target: str, timeout: float) -> Answer | None:
    """POST to a path without a body, otherwise as `get` does."""
    return await _ask("POST", address, target, timeout)


async def _ask(method: str, address: int | Path, target: str, timeout: float) -> Answer | None:
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(address)
            try:
                return await _exchange(reader, writer, method, target)
            finally:
                writer.close()
    except (OSError, TimeoutError, h11.RemoteProtocolError):
        return None


async def _connect(address: int | Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, int):
        return await asyncio.open_connection("127.0.0.1", address)
    with reachable(address) as path:
        return await asyncio.open_unix_connection(path)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, target: str
) -> Answer | None:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "localhost"), ("Connection", "close")]
    request = h11.Request(method=method, target=target, headers=headers)
    writer.write(connection.send(request) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    status, body = 0, bytearray()
    while len(body) <= _BODY_LIMIT:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, bytes(body))
    return None
