"""The replicas of all services: processes, as recorded and as they are."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modelport_engine.replicas import commands, probes
from modelport_engine.replicas.commands import Place
from modelport_engine.replicas.ports import replica_port
from modelport_engine.replicas.processes import (
    Process,
    ProcessId,
    adopt,
    runtime_environment,
    spawn,
)
from modelport_engine.state.records import PREDICTOR, ReplicaRecord, replica_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelport_engine.paths import EnginePaths
    from modelport_engine.replicas.commands import Launch
    from modelport_engine.replicas.storage import Storage
    from modelport_engine.settings import Settings
    from modelport_engine.state.records import Key, Part, Revision
    from modelport_engine.state.store import Store

log = logging.getLogger(__name__)

_TAIL = 8192
_MESSAGE_LINES = 3
_MESSAGE_LIMIT = 600

_LOST_LIMIT = 10.0
# Seconds that Envoy goes on trying the port of a replica that has died: its successor, on another
# port, is ready sooner, and whoever asked meanwhile is answered late instead of never.

_NOWHERE = Path("/nonexistent")
# Where a model that was fetched once, and is no longer there, would be looked for.

_MISSES = 3
# Readiness probes in a row that a replica may fail: Kubernetes' own failureThreshold.


@dataclass(eq=False)
class Replica:
    """One process of a revision's component.

    `since` and `deadline` are in the event loop's time, seconds: when it was started or became
    ready, and when it must be ready. `log_start`: its first byte in the log, which earlier
    processes of the same slot share. `readiness`: the path that tells whether it is ready; None:
    it is when it can be connected to. `memory_limit` in bytes. `verdict`: why we have ended it.
    """

    record: ReplicaRecord
    process: Process
    log: Path
    log_start: int
    since: float
    deadline: float
    readiness: str | None
    memory_limit: int | None
    ready: bool
    retiring: bool = False
    misses: int = 0
    verdict: str | None = None

    @property
    def name(self) -> str:
        """Name as Kubernetes would give a pod."""
        return replica_name(self.record.part, self.record.slot)

    def last_words(self) -> str:
        """Give the last lines that it wrote, those of a traceback's frames left out."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self.log_start if self.log_start <= size else 0, size - _TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        lines = [line.rstrip() for line in text.splitlines()]
        telling = [line for line in lines if line and not line.startswith((" ", "\t", "Traceback"))]
        return " | ".join(telling[-_MESSAGE_LINES:])[-_MESSAGE_LIMIT:]


class _Lost(NamedTuple):
    record: ReplicaRecord
    until: float


class Fleet:
    """Every replica there is."""

    def __init__(
        self,
        paths: EnginePaths,
        store: Store,
        settings: Settings,
        storage: Storage,
        environment: Mapping[str, str],
    ) -> None:
        self._paths = paths
        self._store = store
        self._settings = settings
        self._storage = storage
        self._environment = runtime_environment(environment)
        self._replicas: list[Replica] = []
        self._lost: dict[Part, _Lost] = {}

    def adopt(self) -> list[Replica]:
        """Take over the recorded processes that still live; forget the others."""
        for record in self._store.replicas():
            process = adopt(ProcessId(record.pid, record.started), self._paths.home)
            revision = self._revision(record)
            if process is None or revision is None:
                self._store.forget_replica(record)
                self._lose(record)
                continue
            launch = self._launch(revision, record.part, record.port, record.grpc_port or 0)
            self._replicas.append(self._replica(record, process, launch, 0))
        return list(self._replicas)

    def of(self, key: Key) -> list[Replica]:
        """All replicas of a service, those being stopped included."""
        return [replica for replica in self._replicas if replica.record.key == key]

    def all(self) -> list[Replica]:
        """All replicas of all services."""
        return list(self._replicas)

    def start(
        self,
        revision: Revision,
        part: Part,
        slot: int,
        predictor_host: str,
        longest: int,
        restarts: int,
    ) -> Replica:
        """Start a process for one slot of a revision's part.

        `predictor_host` is where one that is no predictor finds it, as KServe's argument has it;
        `longest`: seconds that a request may take; `restarts`: how often this slot was started.

        Raises:
            SpawnFailed: when the system refuses the command.
            StorageFailed: when its log or its record cannot be written.
        """
        ports = self._ports()
        launch = self._launch(revision, part, *ports, predictor_host, longest)
        path = self._log(revision.key, part, slot)
        log_start = path.stat().st_size if path.exists() else 0
        process = spawn(
            launch.command,
            home=self._paths.home,
            log=path,
            folder=launch.folder or self._paths.root,
            environment=launch.environment,
        )
        identity = process.identity
        record = ReplicaRecord(
            revision.key,
            revision.name,
            slot,
            identity.pid,
            identity.started,
            ports[0],
            ready=False,
            component=part.component,
            grpc_port=ports[1] if launch.grpc else None,
            restarts=restarts,
        )
        replica = self._replica(record, process, launch, log_start)
        self._replicas.append(replica)
        self._store.add_replica(record)
        log.info("%s: started %s, pid %d", revision.key, replica.name, identity.pid)
        return replica

    async def probe(self, replica: Replica) -> None:
        """Ask a replica that is not ready whether it is now."""
        # Another program could answer on this port once our own process has ended.
        if await self._answers(replica) and replica.process.running:
            if not replica.record.ready:
                self._store.mark_ready(replica.record)
                replica.record = replace(replica.record, ready=True)
            self._lost.pop(replica.record.part, None)
            replica.ready, replica.misses = True, 0
            replica.since = asyncio.get_running_loop().time()
            log.info("%s: %s is ready", replica.record.key, replica.name)

    async def check(self, replica: Replica) -> None:
        """Ask a replica that is ready whether it still is; it may fail to answer sometimes."""
        if await self._answers(replica):
            replica.misses = 0
            return
        replica.misses += 1
        if replica.misses >= _MISSES and replica.process.running:
            replica.ready = False
            now = asyncio.get_running_loop().time()
            replica.since, replica.deadline = now, now + self._settings.startup_deadline
            log.warning("%s: %s is no longer ready", replica.record.key, replica.name)

    def endpoints(self) -> dict[tuple[Key, Part], list[Replica]]:
        """Replicas that requests can be sent to, by part.

        Those that are ready; where there is none, those that were: they may answer again, and
        a request that waits for them loses nothing.
        """
        found: dict[tuple[Key, Part], list[Replica]] = defaultdict(list)
        for replica in sorted(self._replicas, key=lambda one: not one.ready):
            place = (replica.record.key, replica.record.part)
            if replica.ready or (replica.record.ready and not found.get(place)):
                found[place].append(replica)
        return dict(found)

    def lost(self) -> dict[tuple[Key, Part], ReplicaRecord]:
        """Replicas that have died a moment ago, by part: the last of each."""
        now = asyncio.get_running_loop().time()
        self._lost = {part: lost for part, lost in self._lost.items() if lost.until > now}
        return {(lost.record.key, part): lost.record for part, lost in self._lost.items()}

    async def stop(self, replica: Replica, grace: float | None = None) -> None:
        """End a replica: gracefully, then by force; it is forgotten when it is gone."""
        limit = self._settings.stop_grace if grace is None else grace
        await replica.process.stop(limit)
        self.forget(replica)
        log.info("%s: stopped %s, pid %d", replica.record.key, replica.name, replica.record.pid)

    async def stop_fronts(self) -> None:
        """End every replica that is no predictor."""
        fronts = (one for one in self.all() if one.record.component != PREDICTOR)
        await asyncio.gather(*map(self.stop, fronts))

    def lose(self, replica: Replica) -> None:
        """Drop a replica that has ended by itself; its port is tried for a while."""
        self._lose(replica.record)
        self.forget(replica)

    def forget(self, replica: Replica) -> None:
        """Drop a replica whose process has ended, and kill what it may have left behind."""
        replica.process.kill()
        if replica in self._replicas:
            self._replicas.remove(replica)
        self._store.forget_replica(replica.record)

    async def _answers(self, replica: Replica) -> bool:
        return await probes.is_ready(replica.record.port, replica.readiness)

    def _lose(self, record: ReplicaRecord) -> None:
        if record.ready:
            until = asyncio.get_running_loop().time() + _LOST_LIMIT
            self._lost[record.part] = _Lost(record, until)

    def _replica(
        self, record: ReplicaRecord, process: Process, launch: Launch, log_start: int
    ) -> Replica:
        now = asyncio.get_running_loop().time()
        return Replica(
            record=record,
            process=process,
            log=self._log(record.key, record.part, record.slot),
            log_start=log_start,
            since=now,
            deadline=now + self._settings.startup_deadline,
            readiness=launch.readiness,
            memory_limit=launch.memory_limit,
            ready=record.ready,
        )

    def _launch(
        self,
        revision: Revision,
        part: Part,
        port: int,
        grpc_port: int,
        predictor_host: str = "",
        longest: int = 0,
    ) -> Launch:
        place = Place(
            key=revision.key,
            http_port=port,
            grpc_port=grpc_port,
            predictor_host=predictor_host,
            longest=longest,
            environment=self._environment,
            folder_of=lambda uri: self._storage.folder(revision, uri) or _NOWHERE,
        )
        return commands.launch(revision.template, part.component, place, self._settings)

    def _ports(self) -> tuple[int, int]:
        """Choose two free ports; a stranger must not get one that Envoy still tries."""
        records = [replica.record for replica in self._replicas]
        records += [lost.record for lost in self._lost.values()]
        taken = {port for one in records for port in one.ports}
        first = replica_port(taken)
        return first, replica_port(taken | {first})

    def _revision(self, record: ReplicaRecord) -> Revision | None:
        return next(
            (one for one in self._store.revisions(record.key) if one.name == record.revision), None
        )

    def _log(self, key: Key, part: Part, slot: int) -> Path:
        return self._paths.service_logs(*key) / f"{replica_name(part, slot)}.log"
