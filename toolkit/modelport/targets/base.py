"""Where services live: what every target offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from modelport.manifests import Manifest


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

    def wait_ready(self, applied: Manifest, say: Callable[[str], None]) -> Manifest:
        """Wait until what was applied is ready; `DeploymentFailed` says why it never was."""
        ...

    def get(self, name: str, namespace: str) -> Manifest | None:
        """Return a service with its status, or None."""
        ...

    def list(self, namespace: str | None = None) -> list[Manifest]:
        """Return the services of a namespace, or all."""
        ...

    def delete(self, name: str, namespace: str) -> None:
        """Remove a service and all it holds; `ServiceNotFound` if there is none."""
        ...
