"""The target `local`: the engine on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelport import manifests
from modelport.errors import DeploymentFailed, ServiceNotFound, StorageError, TargetError
from modelport.targets import logs

if TYPE_CHECKING:
    from modelport.config import Settings
    from modelport.manifests import Manifest
    from modelport.targets.base import Resources
    from modelport_engine.client import EngineClient

_CHANGE_ATTEMPTS = 10
# A service that comes up writes its status many times a second, each a change of the object.


class LocalTarget:
    """InferenceServices on this machine, without Kubernetes."""

    name = "local"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def running(self) -> bool:
        """Whether the engine runs."""
        return self._client().is_running()

    def up(self) -> dict[str, object]:
        """Start the engine if it does not run; return what it says about itself."""
        with _errors():
            return dict(self._started().info())

    def prepare(self) -> None:
        """Start the engine if it does not run."""
        self.up()

    def down(self) -> bool:
        """Stop the engine with all it started; False if nothing ran."""
        with _errors():
            client = self._client()
            ran = client.is_running()
            client.shutdown()
            return ran

    def storage_uri(self, namespace: str, service: str, release_id: str) -> str:
        """Return the file URI of a release's model folder."""
        return self._folder(namespace, service, release_id).as_uri()

    def stage(self, folder: Path, namespace: str, service: str, release_id: str) -> str:
        """Copy a model folder under the home, whole or not at all; forget the oldest ones."""
        final = self._folder(namespace, service, release_id)
        partial = final.with_name(f".{release_id}.partial")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial)
            partial.replace(final)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise StorageError(
                f"the model cannot be copied to {final.parent} ({error.strerror})",
                "free space there, or set MODELPORT_HOME to another disk",
            ) from error
        self._forget_oldest(namespace, service)
        return final.as_uri()

    def unstage(self, namespace: str, service: str, release_id: str) -> None:
        """Remove the model folder of a release that came to nothing."""
        shutil.rmtree(self._folder(namespace, service, release_id), ignore_errors=True)

    def apply(self, manifest: Manifest) -> Manifest:
        """Hand the manifest to the engine, which is started first if it does not run."""
        with _errors():
            return self._started().apply(manifest)

    def change(self, name: str, namespace: str, change: Callable[[Manifest], Manifest]) -> Manifest:
        """Read, change and apply, again and again until nothing came between."""
        from modelport_engine.errors import Conflict

        client, attempts = self._client(), 0
        with _errors():
            while True:
                stored = client.get(name, namespace)
                changed = change(manifests.applied(stored))
                version = stored["metadata"]["resourceVersion"]
                changed["metadata"]["resourceVersion"] = version
                attempts += 1
                try:
                    return client.apply(changed)
                except Conflict:
                    if attempts == _CHANGE_ATTEMPTS:
                        raise

    def wait_ready(
        self, applied: Manifest, say: Callable[[str], None], timeout: float | None = None
    ) -> Manifest:
        """Wait for the applied generation."""
        metadata = applied["metadata"]
        with _errors(DeploymentFailed):
            return self._client().wait_ready(
                metadata["name"],
                metadata["namespace"],
                generation=metadata["generation"],
                timeout=timeout or self._settings.local.ready_timeout,
                on_progress=say,
            )

    def get(self, name: str, namespace: str) -> Manifest | None:
        """Return a service, or None; the engine is not started to learn that."""
        if not self.running:
            return None
        from modelport_engine.errors import NotFound

        with _errors():
            try:
                return self._client().get(name, namespace)
            except NotFound:
                return None

    def list(self, namespace: str | None = None) -> list[Manifest]:
        """Return the services; none while the engine is down."""
        if not self.running:
            return []
        with _errors():
            return list(self._client().list(namespace)["items"])

    def rollback(self, name: str, namespace: str, revision: int | None = None) -> Manifest:
        """Give a service the spec of an earlier revision."""
        with _errors():
            return self._client().rollback(name, namespace, revision)

    def events(self, name: str | None = None, namespace: str | None = None) -> Resources:
        """Return what happened, oldest first."""
        with _errors():
            return list(self._client().events(name, namespace)["items"])

    def revisions(self, name: str, namespace: str) -> Resources:
        """Return the kept revisions of a service, oldest first."""
        with _errors():
            return list(self._client().revisions(name, namespace)["items"])

    def replicas(self, name: str, namespace: str) -> Resources:
        """Return the processes of a service."""
        with _errors():
            return list(self._client().replicas(name, namespace)["items"])

    def logs(self, name: str, namespace: str, wanted: logs.Wanted) -> Iterator[logs.Line]:
        """Give the output of a service's replicas, read from their files."""
        folder = self._client().paths.service_logs(namespace, name)
        return logs.lines(
            folder, lambda: {one["name"] for one in self.replicas(name, namespace)}, wanted
        )

    def delete(self, name: str, namespace: str, *, wait: bool = True) -> None:
        """Delete a service and the model folders staged for it."""
        with _errors():
            self._client().delete(name, namespace, wait=wait)
        shutil.rmtree(self._settings.models / namespace / name, ignore_errors=True)

    def _client(self) -> EngineClient:
        from modelport_engine.client import EngineClient

        return EngineClient(self._settings.home)

    def _started(self) -> EngineClient:
        client = self._client()
        client.ensure_running(
            gateway_port=self._settings.local.gateway_port,
            timeout=self._settings.local.start_timeout,
        )
        return client

    def _folder(self, namespace: str, service: str, release_id: str) -> Path:
        return self._settings.models / namespace / service / release_id

    def _forget_oldest(self, namespace: str, service: str) -> None:
        """Keep the newest folders (release ids sort by time), and those of kept revisions."""
        known = self.get(service, namespace) and self.revisions(service, namespace)
        in_use = {uri for one in known or () for _, uri in manifests.storages(one)}
        folder = self._settings.models / namespace / service
        staged = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for path in staged[: -self._settings.local.kept_models]:
            if path.as_uri() not in in_use:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _errors(kind: type[TargetError] = TargetError) -> Iterator[None]:
    """Turn the engine's errors into ours."""
    from modelport_engine.errors import EngineError, NotFound, PortInUse

    try:
        yield
    except NotFound as error:
        raise ServiceNotFound(error.what, error.todo) from error
    except PortInUse as error:
        raise kind(
            error.what, "stop what holds it, or set MODELPORT_GATEWAY_PORT to another port"
        ) from error
    except EngineError as error:
        raise kind(error.what, error.todo) from error
