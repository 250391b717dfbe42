"""What every port has: a socket, and the open connections that came through it.

Sockets are bound early, and closed without resetting those who wait to be accepted.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from modelport_serving.errors import StartFailed

_MOST_CONNECTIONS = 10_000
_MOST_HELD = 8
"""Messages of the largest size that all connections of a port together may have in memory."""

_SWEEP_SECONDS = 1.0
_SO_ATTACH_FILTER = 26
_DROP = struct.pack("=HBBI", 6, 0, 0, 0)
"""A packet filter of one instruction: keep 0 bytes of every packet."""


class Swept(Protocol):
    """What a connection offers to the clock."""

    def sweep(self, now: float) -> None:
        """End what is dead or stalled; `now` is in the event loop's seconds."""

    def close(self) -> None:
        """Close the connection once what was written is sent."""


_Connection = TypeVar("_Connection", bound=Swept)


class OpenConnections(Generic[_Connection]):
    """The open connections of a port, what they hold, and the clock that ends stalled ones.

    `held_bytes` are messages in memory: those that are coming, that wait and that are being
    answered. `largest` is the size of the largest message, in bytes.
    """

    def __init__(self, largest: int) -> None:
        self.open: set[_Connection] = set()
        self.held_bytes = 0
        self.most_held_bytes = _MOST_HELD * largest
        self.loop = asyncio.get_running_loop()
        self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than may be open."""
        return len(self.open) > _MOST_CONNECTIONS

    def close(self) -> None:
        """Close everything."""
        self._sweeper.cancel()
        for connection in list(self.open):
            connection.close()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self.open):
            connection.sweep(now)
        self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)


def bound(host: str, port: int, *, shared: bool, arguments: str) -> socket.socket:
    """Bind a port, which several processes may share.

    `StartFailed` when it is taken: `arguments` are those that choose another.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        raise StartFailed(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another with {arguments}"
        ) from error
    return listener


async def accept_the_last(
    listener: socket.socket,
    protocols: Callable[[], asyncio.Protocol],
    tls: ssl.SSLContext | None,
) -> None:
    """Accept who is in the queue of a listening socket: closing it would reset them.

    Who comes from now on is not heard, tries again in a second, and is refused.
    """
    _stop_hearing(listener)
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        await loop.connect_accepted_socket(protocols, connection, ssl=tls)


def _stop_hearing(listener: socket.socket) -> None:
    """Let nobody get into the queue between the last one accepted and the end of the socket."""
    if sys.platform == "linux":
        code = ctypes.create_string_buffer(_DROP)
        program = struct.pack("HP", 1, ctypes.addressof(code))
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
