"""Where a revision's models lie on this machine, and how those that MLflow keeps get there.

A fetched model is under `models/NAMESPACE/SERVICE/REVISION`: each revision has its own, so that
`models:/tumor@champion` is what it was when the revision was made.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
import shutil
from collections import defaultdict
from typing import TYPE_CHECKING

from modelport_engine.errors import FetchFailed
from modelport_engine.objects import Front, Predictor, is_fetched, storage_path
from modelport_engine.paths import storage_failed
from modelport_engine.replicas.logs import tail
from modelport_engine.replicas.processes import runtime_environment, spawn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from modelport_engine.objects import Container
    from modelport_engine.objects.containers import Framework
    from modelport_engine.paths import EnginePaths
    from modelport_engine.replicas.processes import Process
    from modelport_engine.settings import Settings
    from modelport_engine.state.records import Key, Revision

_PARTIAL = ".partial"

_STORES = ("MLFLOW_", "AWS_", "AZURE_", "GOOGLE_", "DATABRICKS_")
# Variables of a service that say where its model is kept, and what opens that place.

_PLACES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_S3_ENDPOINT_URL")
# Who names one of these brings the credentials for it: the engine's own are for its own place.

_SECRET_NAME = re.compile("PASSWORD|TOKEN|SECRET|KEY|CREDENTIAL")
_SECRET_SIZE = 4  # characters: shorter ones would black out parts of words
_SECRET_PART = re.compile(r"(?<=//)[^/\s@]+(?=@)|(?<=\?)\S+")
# User and password of a URL, and the query, which may be a signature.


class Storage:
    """The models of all revisions."""

    def __init__(
        self, paths: EnginePaths, settings: Settings, environment: Mapping[str, str]
    ) -> None:
        self._paths = paths
        self._settings = settings
        self._environment = environment
        self._locks: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)

    def folder(self, revision: Revision, uri: str) -> Path | None:
        """Give the folder that a storage URI names; None while it is still to be fetched."""
        if not is_fetched(uri):
            return storage_path(uri)
        folder = self._place(revision, uri)
        return folder if folder.is_dir() else None

    async def fetch(self, revision: Revision, uri: str) -> Path:
        """Bring what a storage URI names to this machine; give its folder.

        Raises:
            FetchFailed: when it cannot be fetched, or not in time.
            SpawnFailed: when the storage initializer cannot be started.
            StorageFailed: when the home cannot be written.
        """
        folder = self._place(revision, uri)
        async with self._locks[folder]:
            if not folder.is_dir():
                await self._fetch(revision, uri, folder)
        return folder

    def forget(self, key: Key, kept: Collection[str]) -> None:
        """Remove what was fetched for all revisions of a service but these."""
        service = self._service(key)
        known = service.glob("*") if kept else [service]
        for folder in known:
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what an engine that was killed had only begun to fetch."""
        for partial in self._paths.models.glob(f"*/*/*/*{_PARTIAL}"):
            shutil.rmtree(partial, ignore_errors=True)

    def _service(self, key: Key) -> Path:
        return self._paths.models / key.namespace / key.name

    def _place(self, revision: Revision, uri: str) -> Path:
        digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
        return self._service(revision.key) / revision.name / digest

    async def _fetch(self, revision: Revision, uri: str, folder: Path) -> None:
        partial = folder.with_name(folder.name + _PARTIAL)
        try:
            partial.mkdir(mode=0o700, parents=True)
            await self._initialize(revision, uri, partial)
            partial.rename(folder)
        except OSError as error:
            raise storage_failed(self._paths.home, error) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)

    async def _initialize(self, revision: Revision, uri: str, folder: Path) -> None:
        """Run the storage initializer; `FetchFailed` unless it succeeds and left something."""
        environment = self._environment_of(revision, uri)
        # The engine removes the logs of revisions that are gone by such names.
        log = self._paths.service_logs(*revision.key) / f"{revision.name}-storage.log"
        log.unlink(missing_ok=True)
        process = spawn(
            [*shlex.split(self._settings.storage_initializer), uri, str(folder)],
            home=self._paths.home,
            log=log,
            folder=self._paths.root,
            environment=environment,
        )
        try:
            why = await _outcome(process, folder, self._settings.fetch_deadline)
        finally:
            await process.stop(grace=0.0)
        if why:
            words = _without_secrets(" ".join(tail(log, 1)), environment)
            raise FetchFailed(
                f"{uri} {why} ({words})" if words else f"{uri} {why}",
                f"correct the URI or what the engine may read, and apply it again; see {log}",
            )

    def _environment_of(self, revision: Revision, uri: str) -> dict[str, str]:
        own = {
            variable.name: variable.value
            for program in _programs(revision)
            if program.storage_uri == uri
            for variable in program.env
            if variable.name.startswith(_STORES)
        }
        is_elsewhere = any(
            name in own and own[name] != self._environment.get(name) for name in _PLACES
        )
        ours = runtime_environment(self._environment) if is_elsewhere else self._environment
        return {**ours, **own}


def _programs(revision: Revision) -> Iterator[Framework | Container]:
    yield Predictor.model_validate(revision.template).program
    for name in revision.components[1:]:
        yield Front.model_validate(revision.template[name]).program


async def _outcome(process: Process, folder: Path, limit: float) -> str:
    """Wait for the storage initializer's end; say what went wrong, if anything."""
    if not await process.ended(limit):
        return f"was not fetched within {limit:g} s"
    if process.exit_code != 0:
        return "cannot be fetched"
    return "" if any(folder.iterdir()) else "holds no files"


def _without_secrets(line: str, environment: Mapping[str, str]) -> str:
    """Black out what a line should not carry on into events and statuses."""
    for name, value in environment.items():
        if len(value) >= _SECRET_SIZE and _SECRET_NAME.search(name.upper()):
            line = line.replace(value, "***")
    return _SECRET_PART.sub("***", line)
