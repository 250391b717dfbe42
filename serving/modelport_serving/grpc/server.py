"""The gRPC server: listens, serves in the running event loop, and ends gracefully.

Not on grpcio: its own event loop thread and completion queue cost several times what a small
model's whole answer does (see docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modelport_serving.errors import StartFailed
from modelport_serving.grpc.connection import Connections
from modelport_serving.grpc.service import Authorized, InferenceService
from modelport_serving.listening import accept_the_last, bound

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane

_BACKLOG = 1024
_QUIET_SECONDS = 0.2
"""A server that is stopping closes its port once no call came for so long."""

_LEAVE_SECONDS = 5.0
"""How long a stopping server waits for callers to turn to other replicas."""

_POLL_SECONDS = 0.02


class GrpcServer:
    """Serves `inference.GRPCInferenceService` on one port.

    Args:
        plane: The data plane that predicts; its `draining` makes ServerReady false.
        host: The address to listen on.
        port: The port.
        reuse_port: Whether several processes share the port.
        max_receive_message_length: The largest request message in bytes.
        max_send_message_length: The largest response message in bytes.
        authorized: Whether an `authorization` header, or none, may call.
        tls_cert_file: The certificate to serve TLS with (PEM), or None.
        tls_key_file: Its key (PEM).
    """

    def __init__(
        self,
        plane: DataPlane,
        *,
        host: str,
        port: int,
        reuse_port: bool = False,
        max_receive_message_length: int,
        max_send_message_length: int,
        authorized: Authorized = lambda _: True,
        tls_cert_file: Path | None = None,
        tls_key_file: Path | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._reuse_port = reuse_port
        self._connections = Connections(
            InferenceService(
                plane,
                authorized=authorized,
                max_receive_message_length=max_receive_message_length,
                max_send_message_length=max_send_message_length,
            )
        )
        self._tls = _tls(tls_cert_file, tls_key_file) if tls_cert_file else None
        self._server: asyncio.Server | None = None
        self._socket: socket.socket
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Listen; `StartFailed` when the port is taken."""
        self._socket = bound(
            self._host,
            self._port,
            shared=self._reuse_port,
            arguments="--host and --grpc_port, or start without gRPC: --enable_grpc false",
        )
        self._server = await self._loop.create_server(
            self._connections, sock=self._socket, backlog=_BACKLOG, ssl=self._tls
        )

    async def stop(self, grace: float) -> None:
        """End: ask callers to leave, answer what has come, for at most `grace` seconds, and close.

        The port stays open until no call comes any more: who has not heard of the end yet is
        answered, not refused.
        """
        if self._server is not None:
            end = self._loop.time() + grace
            self._connections.drain()
            await self._until(self._is_quiet, min(end, self._loop.time() + _LEAVE_SECONDS))
            await accept_the_last(self._socket, self._connections, self._tls)
            self._server.close()
            self._socket.close()
            # Who was accepted last has not called yet: asked to leave now, some clients fail.
            await self._until(self._is_left, min(end, self._loop.time() + _QUIET_SECONDS))
            self._connections.drain()
            await self._until(self._is_left, end)
        self._connections.close()

    def _is_quiet(self) -> bool:
        return self._loop.time() - self._connections.last_call > _QUIET_SECONDS

    def _is_left(self) -> bool:
        return not self._connections.open

    async def _until(self, condition: Callable[[], bool], end: float) -> None:
        while not condition() and self._loop.time() < end:
            await asyncio.sleep(_POLL_SECONDS)


def _tls(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise StartFailed(f"the TLS certificate {certificate} cannot be used: {error}") from error
    return context
