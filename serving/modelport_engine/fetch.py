"""A minimal asynchronous HTTP GET, over TCP on this machine or a Unix socket."""

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
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(address)
            try:
                return await _exchange(reader, writer, target)
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
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str
) -> Answer | None:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "localhost"), ("Connection", "close")]
    writer.write(connection.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
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
