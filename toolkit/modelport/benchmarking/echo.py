"""The echo server: answers every request with as many bytes as its path says, and does no work.

It writes its port to standard output, and runs until standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from functools import cache
from typing import Any

from modelport.extras import require


class Echo(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: Any) -> None:
        """Begin to read."""
        self._transport = transport
        self._parser = require("httptools", extra="release").HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Read a request, or a part of it."""
        self._parser.feed_data(data)

    def on_url(self, path: bytes) -> None:
        """Learn how long the answer is to be."""
        self._size = int(path.removeprefix(b"/"))

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(_answer(self._size))


@cache
def _answer(size: int) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b" " * size


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the port, to who began us
    closed = asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=wait, daemon=True).start()
    await closed.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
