"""The replicas of all services: processes of the runtime, as recorded and as they are."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from modelport_engine import fetch
from modelport_engine.objects import MOUNT, Container, Front, Model, storage_path
from modelport_engine.records import PREDICTOR, ReplicaRecord, replica_name
from modelport_engine.replicas.ports import replica_port
from modelport_engine.replicas.processes import (
    Process,
    ProcessId,
    adopt,
    runtime_environment,
    spawn,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from modelport_engine.paths import EnginePaths
    from modelport_engine.records import Key, Part, Revision
    from modelport_engine.settings import Settings
    from modelport_engine.store import Store

log = logging.getLogger(__name__)

READY_PATH = "/v2/health/ready"
_PROBE_LIMIT = 2.0
_LOG_LIMIT = 16 * 1024 * 1024
_TAIL = 8192
_MESSAGE_LINES = 3
_MESSAGE_LIMIT = 600


@dataclass(eq=False)
class Replica:
    """One process of a revision's component.

    `since` and `deadline` are in the event loop's time, seconds: when it was started or became
    ready, and when it must be ready. `log_start`: its first byte in the log, which earlier
    processes of the same slot share.
    """

    record: ReplicaRecord
    process: Process
    log: Path
    log_start: int
    since: float
    deadline: float
    ready: bool
    retiring: bool = False

    @property
    def name(self) -> str:
        """Name as Kubernetes would give a pod."""
        return replica_name(self.record.part, self.record.slot)

    def last_words(self) -> str:
        """Give the last lines that it wrote, those of a traceback's frames left out."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self.log_start, size - _TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        lines = [line.rstrip() for line in text.splitlines()]
        telling = [line for line in lines if line and not line.startswith((" ", "\t", "Traceback"))]
        return " | ".join(telling[-_MESSAGE_LINES:])[-_MESSAGE_LIMIT:]


class Fleet:
    """Every replica there is."""

    def __init__(
        self, paths: EnginePaths, store: Store, settings: Settings, environment: Mapping[str, str]
    ) -> None:
        self._paths = paths
        self._store = store
        self._settings = settings
        self._environment = runtime_environment(environment)
        self._replicas: list[Replica] = []

    def adopt(self) -> list[Replica]:
        """Take over the recorded processes that still live; forget the others."""
        now = asyncio.get_running_loop().time()
        for record in self._store.replicas():
            process = adopt(ProcessId(record.pid, record.started), self._paths.home)
            if process is None:
                self._store.forget_replica(record)
                continue
            self._replicas.append(
                Replica(
                    record=record,
                    process=process,
                    log=self._log(record.key, record.part, record.slot),
                    log_start=0,
                    since=now,
                    deadline=now + self._settings.startup_deadline,
                    ready=record.ready,
                )
            )
        return list(self._replicas)

    def of(self, key: Key) -> list[Replica]:
        """All replicas of a service, those being stopped included."""
        return [replica for replica in self._replicas if replica.record.key == key]

    def all(self) -> list[Replica]:
        """All replicas of all services."""
        return list(self._replicas)

    def start(self, revision: Revision, part: Part, slot: int, predictor_host: str) -> Replica:
        """Start a process for one slot of a revision's part.

        `predictor_host` is where one that is no predictor finds it, as KServe's argument has it.

        Raises:
            SpawnFailed: when the system refuses the command.
            StorageFailed: when its log or its record cannot be written.
        """
        port = replica_port({replica.record.port for replica in self._replicas})
        path = self._log(revision.key, part, slot)
        log_start = _rotate(path)
        program = _program(revision, part)
        if isinstance(program, Model):
            arguments = _predictor_arguments(program)
        else:
            arguments = [f"--predictor_host={predictor_host}", *_front_arguments(program)]
        process = spawn(
            self._command(revision.key, port, arguments),
            home=self._paths.home,
            log=path,
            folder=self._paths.root,
            environment=self._environment_of(revision.key, program),
        )
        identity = process.identity
        record = ReplicaRecord(
            revision.key,
            revision.name,
            slot,
            identity.pid,
            identity.started,
            port,
            ready=False,
            component=part.component,
        )
        now = asyncio.get_running_loop().time()
        deadline = now + self._settings.startup_deadline
        replica = Replica(record, process, path, log_start, now, deadline, ready=False)
        self._replicas.append(replica)
        self._store.add_replica(record)
        log.info("%s: started %s, pid %d", revision.key, replica.name, identity.pid)
        return replica

    async def probe(self, replica: Replica) -> None:
        """Ask a replica that is not ready whether it is now."""
        answer = await fetch.get(replica.record.port, READY_PATH, _PROBE_LIMIT)
        # Another program could answer on this port once our own process has ended.
        if answer and answer.status == HTTPStatus.OK and replica.process.running:
            self._store.mark_ready(replica.record)
            replica.record = replace(replica.record, ready=True)
            replica.ready = True
            replica.since = asyncio.get_running_loop().time()
            log.info("%s: %s is ready", replica.record.key, replica.name)

    async def stop(self, replica: Replica) -> None:
        """End a replica: gracefully, then by force; it is forgotten when it is gone."""
        await replica.process.stop(self._settings.stop_grace)
        self.forget(replica)
        log.info("%s: stopped %s, pid %d", replica.record.key, replica.name, replica.record.pid)

    async def stop_fronts(self) -> None:
        """End every replica that is no predictor."""
        fronts = (one for one in self.all() if one.record.component != PREDICTOR)
        await asyncio.gather(*map(self.stop, fronts))

    def forget(self, replica: Replica) -> None:
        """Drop a replica whose process has ended, and kill what it may have left behind."""
        replica.process.kill()
        if replica in self._replicas:
            self._replicas.remove(replica)
        self._store.forget_replica(replica.record)

    def _command(self, key: Key, port: int, arguments: Sequence[str]) -> list[str]:
        return [
            *self._settings.runtime_command,
            f"--model_name={key.name}",
            f"--http_port={port}",
            "--host=127.0.0.1",
            # The gateway routes REST alone: replicas would meet on gRPC's one default port.
            "--enable_grpc=false",
            *arguments,
        ]

    def _environment_of(self, key: Key, program: Model | Container) -> dict[str, str]:
        return {
            **self._environment,
            # KServe's own runtimes find it in their pods.
            "INFERENCE_SERVICE_NAME": key.name,
            **{variable.name: variable.value for variable in program.env},
        }

    def _log(self, key: Key, part: Part, slot: int) -> Path:
        return self._paths.service_logs(*key) / f"{replica_name(part, slot)}.log"


def _program(revision: Revision, part: Part) -> Model | Container:
    if part.component == PREDICTOR:
        return Model.model_validate(revision.template["model"])
    return Front.model_validate(revision.template[part.component]).container


def _predictor_arguments(model: Model) -> list[str]:
    return [f"--model_dir={storage_path(model.storage_uri)}", *model.args]


def _front_arguments(container: Container) -> list[str]:
    """Nothing is mounted on this machine: where an argument names the mount, put the folder."""
    uri = container.storage_uri
    folder = MOUNT if uri is None else str(storage_path(uri))
    return [argument.replace(MOUNT, folder) for argument in container.args]


def _rotate(path: Path) -> int:
    """Put a log that has grown large aside; give the size of what stays."""
    try:
        size = path.stat().st_size
        if size <= _LOG_LIMIT:
            return size
        path.replace(path.with_suffix(".log.1"))
    except OSError:
        return 0
    return 0
