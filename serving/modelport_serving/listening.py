"""Listening sockets: bound early, and closed without resetting those who wait to be accepted."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
import sys
from collections.abc import Callable

from modelport_serving.errors import StartFailed

_SO_ATTACH_FILTER = 26
_DROP = struct.pack("=HBBI", 6, 0, 0, 0)
"""A packet filter of one instruction: keep 0 bytes of every packet."""


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
