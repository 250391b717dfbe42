"""One process that serves one replica: start, load, answer, end.

Granian runs embedded: its workers of their own would cost a second process that can be orphaned.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from typing import TYPE_CHECKING

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server as Granian

from modelport_serving.dataplane import DataPlane, Model
from modelport_serving.errors import StartFailed
from modelport_serving.rest.edge import Edge

if TYPE_CHECKING:
    from modelport_serving.settings import Settings

log = logging.getLogger("modelport_serving")

_BACKLOG = 1024
"""Connections open at once; Granian's default of 128 makes further ones wait."""

_QUIET_SECONDS = 0.2
"""A server that is stopping ends its connections once no prediction came for so long."""

_DRAIN_SECONDS = 5.0
"""How long a stopping server waits for callers to turn to other replicas."""

_STOP_SECONDS = 20.0
"""How long requests in flight may still take. With the above, under Kubernetes' 30 s."""

_POLL_SECONDS = 0.02


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; `ServingError` when serving is not possible."""
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    address = _free_address(settings.host, settings.http_port)
    model = Model(settings.model_name, settings.model_dir, allow_pickle=settings.allow_pickle)
    plane = DataPlane([model], settings.max_threads)
    edge = Edge(
        plane,
        max_body_bytes=settings.max_body_bytes,
        enable_docs=settings.enable_docs_url,
    )
    granian = _granian(edge, address, settings.http_port)
    listening = asyncio.create_task(granian.serve())
    stop = asyncio.create_task(_stop_signal())
    try:
        await _load(plane, stop, settings)
        await asyncio.wait({listening, stop}, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            raise StartFailed("the HTTP server ended unexpectedly") from listening.exception()
        await _drain(edge)
    finally:
        granian.stop()
        await asyncio.wait({listening}, timeout=_STOP_SECONDS)
        plane.close()


def _free_address(host: str, port: int) -> str:
    """Resolve the host, and refuse a port that is taken.

    Granian shares ports with whoever listens already: requests would go to either server.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise StartFailed(
            f"cannot listen on {host}:{port} ({error.strerror}): "
            "choose another with --host and --http_port"
        ) from error
    return str(address[0])


def _granian(edge: Edge, address: str, port: int) -> Granian:
    return Granian(
        edge,
        address=address,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        log_enabled=False,
    )


async def _stop_signal() -> None:
    """Return at the first SIGTERM or SIGINT."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    await event.wait()


async def _load(plane: DataPlane, stop: asyncio.Task[None], settings: Settings) -> None:
    """Load the models while the port already answers, unless a signal comes first."""
    loading = asyncio.create_task(plane.load())
    await asyncio.wait({loading, stop}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        return
    loading.result()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("%s is ready at http://%s:%d", settings.model_name, host, settings.http_port)


async def _drain(edge: Edge) -> None:
    """Answer on, and ask callers to leave, until no prediction comes any more.

    A connection closed while idle can lose the request that is just being sent on it. So every
    answer now closes its own connection, and only quiet ones are left to be cut.
    """
    edge.draining = True
    started = time.monotonic()
    while (now := time.monotonic()) < started + _DRAIN_SECONDS:
        if not edge.in_flight and now - max(edge.last_prediction, started) > _QUIET_SECONDS:
            return
        await asyncio.sleep(_POLL_SECONDS)
