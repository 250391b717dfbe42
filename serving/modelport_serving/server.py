"""One process that serves: start, load, answer, end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import ssl
import time
import warnings
from typing import TYPE_CHECKING

import uvloop

from modelport_serving import logs, tracing
from modelport_serving.auth import Token
from modelport_serving.dataplane import DataPlane
from modelport_serving.errors import StartFailed
from modelport_serving.exchange import Watchers
from modelport_serving.listening import accept_the_last, bound
from modelport_serving.metrics import Metrics
from modelport_serving.rest.connection import Connections
from modelport_serving.rest.edge import Edge
from modelport_serving.settings import PROGRAM

if TYPE_CHECKING:
    from modelport_serving.grpc.server import GrpcServer
    from modelport_serving.payloads import PayloadLogger
    from modelport_serving.settings import Settings
    from modelport_serving.workers import SupervisorLink

log = logging.getLogger("modelport_serving")

_BACKLOG = 1024
"""Connections that may wait to be accepted."""

_QUIET_SECONDS = 0.2
"""A server that is stopping ends its connections once no prediction came for so long."""

_IDLE_SECONDS = 1.0
"""Then it cuts connections on which nothing came for so long: callers may be slow to send."""

_DRAIN_SECONDS = 5.0
"""How long a stopping server waits for callers to turn to other replicas."""

_FLUSH_SECONDS = 2.0
"""How long a stopping server sends traces, events and log records that wait."""

_POLL_SECONDS = 0.02

_COLLECTED_OBJECTS = 20_000
"""New objects between two rounds of the garbage collector: a batch of requests has many."""


def run(settings: Settings, link: SupervisorLink | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `ServingError` when serving is not possible.

    `link` leads to the supervisor when this process is one of several workers.
    """
    # A request whose numbers are too large is answered so; nobody needs to read of it here.
    warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)
    metrics = Metrics(link.metrics_directory, link.number) if link else Metrics()
    writer = _start_logs(settings, metrics, link)
    watchers = _watchers(settings, metrics)
    try:
        uvloop.run(_serve(settings, link, watchers))
    finally:
        _flush(watchers)
        if writer is not None:
            writer.end(_FLUSH_SECONDS)


async def _serve(settings: Settings, link: SupervisorLink | None, watchers: Watchers) -> None:
    stop = asyncio.create_task(_stop_signal())
    server = Server(settings, link, watchers)
    try:
        starting = asyncio.create_task(server.start())
        await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stop
            await server.drain()
    finally:
        await server.close()


class Server:
    """REST and gRPC over one data plane."""

    def __init__(self, settings: Settings, link: SupervisorLink | None, watchers: Watchers) -> None:
        self._settings = settings
        self._link = link
        self._socket = bound(
            settings.host,
            settings.http_port,
            shared=link is not None,
            arguments="--host and --http_port",
        )
        self._tls = _tls(settings)
        token = Token.read(settings.auth_token_file) if settings.auth_token_file else None
        self._plane = DataPlane(settings, watchers)
        if link is not None:
            self._plane.control = link
        self._edge = Edge(
            self._plane,
            max_body_bytes=settings.max_body_bytes,
            enable_docs=settings.enable_docs_url,
            token=token,
        )
        self._connections = Connections(self._edge)
        self._http: asyncio.Server | None = None
        self._grpc = self._grpc_server(token) if settings.enable_grpc else None

    async def start(self) -> None:
        """Listen and load the models, and return when they are ready.

        A lone server listens first, and answers questions of its health meanwhile. A worker
        listens last, since others can answer until then.
        """
        if self._link is None:
            await self._listen()
            await self._plane.start()
        else:
            await self._plane.start(self._link.unloaded)
            await self._link.open(self._plane.repository)
            await self._listen()
            self._link.ready()
        _spare_the_collector()
        names = ", ".join(self._plane.names()) or "no model"
        log.info("%s is ready at %s", names, self._url)

    async def drain(self) -> None:
        """Answer on, and ask callers to leave, until no prediction comes any more.

        A connection closed while idle can lose the request that is just being sent on it. So
        every answer now closes its own connection, and only quiet ones are left to be cut.
        """
        self._plane.draining = self._edge.draining = True
        end = time.monotonic() + self._settings.shutdown_seconds
        endings = [self._drain_http(end)]
        if self._grpc is not None:
            endings.append(self._grpc.stop(self._settings.shutdown_seconds))
        await asyncio.gather(*endings)

    async def close(self) -> None:
        """End everything; what is still open is cut."""
        self._connections.close()
        if self._http is not None:
            self._http.close()
        self._socket.close()
        await self._plane.close()

    @property
    def _url(self) -> str:
        host = self._settings.host
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self._tls else 'http'}://{shown}:{self._settings.http_port}"

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._http = await loop.create_server(
            self._connections, sock=self._socket, backlog=_BACKLOG, ssl=self._tls
        )
        if self._grpc is not None:
            await self._grpc.start()

    async def _drain_http(self, end: float) -> None:
        started = time.monotonic()
        while (now := time.monotonic()) < min(end, started + _DRAIN_SECONDS):
            quiet = now - max(self._edge.last_prediction, started) > _QUIET_SECONDS
            if quiet and not self._connections.busy:
                break
            await asyncio.sleep(_POLL_SECONDS)
        await accept_the_last(self._socket, self._connections, self._tls)
        if self._http is not None:
            self._http.close()
        while self._connections.open and time.monotonic() < end:
            self._connections.close_idle(_IDLE_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)

    def _grpc_server(self, token: Token | None) -> GrpcServer:
        from modelport_serving.grpc.server import GrpcServer

        settings = self._settings
        return GrpcServer(
            self._plane,
            host=settings.host,
            port=settings.grpc_port,
            reuse_port=self._link is not None,
            max_receive_message_length=settings.grpc_max_receive_message_length,
            max_send_message_length=settings.grpc_max_send_message_length,
            authorized=token.admits if token else lambda _: True,
            tls_cert_file=settings.tls_cert_file,
            tls_key_file=settings.tls_key_file,
        )


def _spare_the_collector() -> None:
    """Let the garbage collector look no more at what stays, nor as often at what goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_OBJECTS, 20, 20)


def _start_logs(
    settings: Settings, metrics: Metrics, link: SupervisorLink | None
) -> logs.LogWriter | None:
    program = f"{PROGRAM}: worker {link.number}" if link else PROGRAM
    return logs.start_as(settings, program, lambda: metrics.dropped("log_records"))


def _watchers(settings: Settings, metrics: Metrics) -> Watchers:
    return Watchers(
        metrics,
        tracing.start(settings.otlp_endpoint, settings.model_name),
        logs.LatencyLog() if settings.enable_latency_logging else None,
        _payload_logger(settings, metrics) if settings.logger_url else None,
    )


def _payload_logger(settings: Settings, metrics: Metrics) -> PayloadLogger:
    from modelport_serving.payloads import PayloadLogger, Source

    component = "predictor"
    if settings.predictor_host:
        component = "explainer" if settings.explainer else "transformer"
    source = Source.here(settings.model_name, component)
    return PayloadLogger(
        str(settings.logger_url),
        settings.logger_mode,
        source,
        lambda: metrics.dropped("payload_events"),
    )


def _flush(watchers: Watchers) -> None:
    """Send what still waits, for a bounded time."""
    if watchers.tracer is not None:
        watchers.tracer.close(_FLUSH_SECONDS)
    if watchers.payloads is not None:
        watchers.payloads.close(_FLUSH_SECONDS)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except OSError as error:
        raise StartFailed(
            f"the certificate {settings.tls_cert_file} or its key cannot be read: {error}"
        ) from error
    return context


async def _stop_signal() -> None:
    """Return at the first SIGTERM or SIGINT."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    await event.wait()
