"""Where services live: what every target offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from modelport.manifests import Manifest
    from modelport.targets.logs import Line, Wanted

Resources = list[dict[str, Any]]


class Target(Protocol):
    """A place that runs InferenceServices. Every call may raise `TargetError`."""

    name: str

    def prepare(self) -> None:
        """Make sure that the target answers, starting it if it is ours to start."""
        ...

    def stage(self, folder: Path, namespace: str, service: str, release_id: str) -> str:
        """Put a model folder where services can read it; return its storageUri."""
        ...

    def storage_uri(self, namespace: str, service: str, release_id: str) -> str:
        """Return the storageUri that `stage` would give, and do nothing."""
        ...

    def unstage(self, namespace: str, service: str, release_id: str) -> None:
        """Remove the model folder of a release that came to nothing."""
        ...

    def apply(self, manifest: Manifest) -> Manifest:
        """Create or change a service; return it as stored."""
        ...

    def change(self, name: str, namespace: str, change: Callable[[Manifest], Manifest]) -> Manifest:
        """Apply a change of a service to what it is now; `ServiceNotFound` if there is none.

        `change` gets the object as a user would apply it, and is called again when another
        change came between.
        """
        ...

    def wait_ready(
        self, applied: Manifest, say: Callable[[str], None], timeout: float | None = None
    ) -> Manifest:
        """Wait until what was applied is ready; `DeploymentFailed` says why it never was.

        `timeout`: seconds; by default those of the settings.
        """
        ...

    def rollback(self, name: str, namespace: str, revision: int | None = None) -> Manifest:
        """Give a service the spec of an earlier revision, by default of the one before."""
        ...

    def get(self, name: str, namespace: str) -> Manifest | None:
        """Return a service with its status, or None."""
        ...

    def list(self, namespace: str | None = None) -> list[Manifest]:
        """Return the services of a namespace, or all."""
        ...

    def events(self, name: str | None = None, namespace: str | None = None) -> Resources:
        """Return Kubernetes' events, oldest first: of a service, of a namespace, or all."""
        ...

    def revisions(self, name: str, namespace: str) -> Resources:
        """Return the kept revisions of a service, oldest first."""
        ...

    def replicas(self, name: str, namespace: str) -> Resources:
        """Return the processes of a service."""
        ...

    def logs(self, name: str, namespace: str, wanted: Wanted) -> Iterator[Line]:
        """Give the output of a service's replicas, line by line."""
        ...

    def delete(self, name: str, namespace: str, *, wait: bool = True) -> None:
        """Remove a service and all it holds; `ServiceNotFound` if there is none."""
        ...
