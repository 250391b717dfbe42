"""The files that Envoy watches: replaced by renaming, known by the version in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from modelport_engine.gateway import xds
from modelport_engine.gateway.clusters import clusters_file, endpoints, endpoints_file
from modelport_engine.gateway.routes import routes
from modelport_engine.paths import storage_failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from modelport_engine.paths import EnginePaths

LISTENERS = "listener_manager.lds"
"""As the others here: where Envoy's statistics tell the version that it works by."""

_CLUSTERS = "cluster_manager.cds"
_ROUTES = f"http.{xds.GATEWAY}.rds.{xds.GATEWAY}"

Versions = dict[str, str]
"""Versions that were written, by the statistic in which Envoy tells that it has taken them."""


class Files:
    """Envoy's files in its working folder."""

    def __init__(self, paths: EnginePaths) -> None:
        self._home = paths.home
        self._folder = paths.envoy

    def write_endpoints(self, table: xds.Table) -> Versions:
        """Write the endpoints of all backends; `StorageFailed` if that is impossible."""
        return {
            f"cluster.{name}": self.write(endpoints_file(name), content)
            for backend in table.backends
            for name, content in endpoints(backend).items()
        }

    def write_clusters(self, named: Mapping[str, xds.Resource]) -> Versions:
        """Write all clusters; `StorageFailed` if that is impossible."""
        return {_CLUSTERS: self.write("cds.json", clusters_file(named))}

    def write_routes(self, table: xds.Table) -> Versions:
        """Write all routes; `StorageFailed` if that is impossible."""
        return {_ROUTES: self.write("rds.json", routes(table))}

    def keep_endpoints(self, names: Iterable[str]) -> None:
        """Remove the endpoints of all clusters but these, whenever the others went."""
        kept = {endpoints_file(name) for name in names}
        for path in self._folder.glob(endpoints_file("*")):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def write(self, name: str, content: xds.Resource) -> str:
        """Replace a file, and give its version; `StorageFailed` if that is impossible."""
        target = self._folder / name
        partial = target.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(content))
            # Envoy watches for the rename: it never sees half a file.
            partial.replace(target)
        except OSError as error:
            raise storage_failed(self._home, error) from error
        return str(content.get("version_info", ""))

    def read(self, name: str) -> Any:
        """Give a file's content; None when there is none."""
        try:
            return json.loads((self._folder / name).read_text())
        except (OSError, ValueError):
            return None

    def read_clusters(self) -> dict[str, xds.Resource]:
        """Give the clusters that Envoy was last told of, by name."""
        known = (self.read("cds.json") or {}).get("resources", ())
        return {
            entry["name"]: {key: entry[key] for key in entry if key != "@type"} for entry in known
        }
