"""Where the engine keeps its files: everything owner-only, under `HOME/engine`."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelport_engine.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET_PATH_LIMIT = 100
"""Bytes; sockaddr_un holds 108 on Linux and 104 on macOS, the closing zero included."""


@dataclass(frozen=True)
class EnginePaths:
    """The files of the engine that works on one home."""

    home: Path

    @property
    def root(self) -> Path:
        """The engine's own folder."""
        return self.home / "engine"

    @property
    def database(self) -> Path:
        """SQLite: the objects, their revisions and replicas."""
        return self.root / "state.db"

    @property
    def lock(self) -> Path:
        """Locked by the engine that works on this home; holds its process id."""
        return self.root / "engine.lock"

    @property
    def log(self) -> Path:
        """The engine's own log."""
        return self.root / "engine.log"

    @property
    def socket(self) -> Path:
        """The engine's API."""
        return self.root / "engine.sock"

    @property
    def token(self) -> Path:
        """What callers from other machines send to the gateway."""
        return self.root / "gateway.token"

    @property
    def envoy(self) -> Path:
        """Envoy's configuration, admin socket and log."""
        return self.root / "envoy"

    @property
    def logs(self) -> Path:
        """The replicas' output, by namespace and service."""
        return self.root / "logs"

    @property
    def models(self) -> Path:
        """Fetched models, by namespace, service and revision."""
        return self.root / "models"

    def service_logs(self, namespace: str, name: str) -> Path:
        """Folder of one service's logs."""
        return self.logs / namespace / name

    def prepare(self) -> None:
        """Create the folders; `StorageFailed` when the home cannot be written."""
        try:
            for folder in (self.home, self.root, self.envoy, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as error:
            raise storage_failed(self.home, error) from error


def storage_failed(home: Path, error: Exception) -> StorageFailed:
    """Say in one line that the home cannot be written, and why."""
    why = getattr(error, "strerror", None) or str(error)
    return StorageFailed(
        f"{home} cannot be written ({why})",
        "free some space or correct its permissions, or set MODELPORT_HOME to another folder",
    )


@contextmanager
def reachable(socket_path: Path) -> Iterator[str]:
    """Give a path that names this Unix socket and is short enough for the kernel.

    A socket in a deep folder is reached through a short-lived link in a private folder, so that
    engine and client need not agree on a second place.
    """
    if len(os.fsencode(socket_path)) <= SOCKET_PATH_LIMIT:
        yield str(socket_path)
        return
    with tempfile.TemporaryDirectory(prefix="mp-") as private:
        link = Path(private) / "s"
        link.symlink_to(socket_path.parent, target_is_directory=True)
        yield str(link / socket_path.name)
