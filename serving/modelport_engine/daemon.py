"""One engine at work on one home: lock, assemble, serve the API, clean up."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import uvicorn

from modelport_engine.access import gateway_token, token_file
from modelport_engine.api import application
from modelport_engine.controller import Changes, Controller
from modelport_engine.gateway.envoy import Gateway
from modelport_engine.gateway.routing import Routing
from modelport_engine.lock import locked
from modelport_engine.paths import reachable, storage_failed
from modelport_engine.replicas.fleet import Fleet
from modelport_engine.replicas.processes import kill_strays
from modelport_engine.replicas.storage import Storage
from modelport_engine.state.database import Database
from modelport_engine.state.events import EventLog
from modelport_engine.state.store import Store
from modelport_engine.succession import succession
from modelport_engine.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelport_engine.paths import EnginePaths
    from modelport_engine.settings import Invocation, Settings
    from modelport_engine.succession import Standby

log = logging.getLogger(__name__)

_CONCURRENCY = 128
# Requests to the API at a time; each watch counts.


_OPEN_FILES = 65_536


def run(
    paths: EnginePaths, settings: Settings, invocation: Invocation, ready: Callable[[], None]
) -> None:
    """Work until SIGTERM, SIGINT or `POST /shutdown`; leave no process behind.

    A detached engine that ends in any other way is followed by another one.

    Args:
        paths: The home, prepared.
        settings: How to work.
        invocation: How it was started.
        ready: Called once the API and the gateway answer.

    Raises:
        HomeInUse: when another engine works on this home.
        PortInUse: when the gateway's port is not free.
        GatewayFailed: when Envoy does not start.
        StorageFailed: when the home cannot be written.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with locked(paths, invocation.lock):
        # Before there is a standby, so that whoever is asked to end does so in order.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with succession(paths, invocation) as standby:
            _raise_file_limit()
            asyncio.run(_serve(paths, settings, invocation, standby, ready))


async def _serve(
    paths: EnginePaths,
    settings: Settings,
    invocation: Invocation,
    standby: Standby,
    ready: Callable[[], None],
) -> None:
    database = Database(paths.database)
    try:
        controller, listener = await _start(paths, settings, database, invocation, standby)
        try:
            await _answer(controller, listener, standby, ready)
        finally:
            await controller.stop()
    finally:
        database.close()


async def _start(
    paths: EnginePaths,
    settings: Settings,
    database: Database,
    invocation: Invocation,
    standby: Standby,
) -> tuple[Controller, socket.socket]:
    """Take over what an earlier engine left running, and kill what it did not record."""
    world, changes = _world(paths, settings, database)
    fleet, gateway = world.fleet, world.gateway
    adopted = fleet.adopt()
    known = {replica.record.pid for replica in adopted} | standby.pids
    known |= {gateway.pid} if gateway.pid else set()
    strays = kill_strays(paths.home, keep=known)
    world.storage.tidy()
    log.info("took over %d replicas, killed %d strays", len(adopted), len(strays))
    try:
        before = database.setting("gateway_port")
        await gateway.claim(invocation.gateway_port, settings.gateway_port)
        if gateway.port != before:
            await fleet.stop_fronts()  # they ask their predictors at the port of before
        controller = Controller(world, changes)
        await controller.start()
        return controller, _listen(paths)
    except BaseException:
        # What was taken over serves on, for the next engine to take over.
        kill_strays(paths.home, keep=known)
        raise


def _world(paths: EnginePaths, settings: Settings, database: Database) -> tuple[World, Changes]:
    changes = Changes()
    store, storage = Store(database), Storage(paths, settings, os.environ)
    fleet = Fleet(paths, store, settings, storage, os.environ)
    host, token = settings.gateway_host, gateway_token(paths, settings)
    gateway = Gateway(paths, database, settings.gateway_workers, host, token)
    world = World(
        paths=paths,
        settings=settings,
        store=store,
        events=EventLog(database),
        storage=storage,
        fleet=fleet,
        gateway=gateway,
        routing=Routing(fleet, gateway),
        notify=changes.notify,
    )
    return world, changes


async def _answer(
    controller: Controller, listener: socket.socket, standby: Standby, ready: Callable[[], None]
) -> None:
    """Serve the API until the end is asked for; it answers until all processes have ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = _Server(_configuration(controller, stop.set))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    serving.add_done_callback(lambda _: stop.set())
    keeping = asyncio.create_task(standby.keep())
    try:
        ready()
        await stop.wait()
        log.info("stopping")
        keeping.cancel()
        standby.end()
        await controller.stop()
    finally:
        server.should_exit = True
        await serving
        controller.world.paths.socket.unlink(missing_ok=True)


def _configuration(controller: Controller, shut_down: Callable[[], None]) -> uvicorn.Config:
    return uvicorn.Config(
        application(controller, lambda: _info(controller), shut_down),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        limit_concurrency=_CONCURRENCY,
        timeout_graceful_shutdown=2,
    )


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us: Envoy needs two for each request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the engine ends in its own order."""

    def capture_signals(self) -> Any:
        return nullcontext()


def _info(controller: Controller) -> dict[str, Any]:
    world = controller.world
    file = token_file(world.paths, world.settings)
    return {
        "version": engine_version(),
        "pid": os.getpid(),
        "home": str(world.paths.home),
        "gatewayUrl": world.gateway.url,
        "gatewayPort": world.gateway.port,
        "gatewayHost": world.settings.gateway_host,
        "gatewayTokenFile": file and str(file),
        "stopping": controller.stopping,
    }


def engine_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("modelport")
    except PackageNotFoundError:
        return "unknown"


def _listen(paths: EnginePaths) -> socket.socket:
    # Uvicorn would make the socket's file writable for everyone.
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        paths.socket.unlink(missing_ok=True)
        with reachable(paths.socket) as short:
            listener.bind(short)
        paths.socket.chmod(0o600)
        # Whoever connects from now on waits for its answer, and is not refused.
        listener.listen(_CONCURRENCY)
    except OSError as error:
        listener.close()
        raise storage_failed(paths.home, error) from error
    return listener
