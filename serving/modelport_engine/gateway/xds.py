"""What the gateway shall know, and the parts that all of Envoy's files share.

Listener, routes, clusters and endpoints are resources of their own (LDS, RDS, CDS, EDS), so that
a change of weights or endpoints touches neither listener nor connections. The modules beside this
one make them as pure functions: what is wanted in, dictionaries out. Source: Envoy's API v3
(envoyproxy.io, api-v3) and its file-based dynamic configuration.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Resource = dict[str, Any]

ADMIN_SOCKET = "admin.sock"
"""Relative to Envoy's working folder: a Unix socket's path may only be short."""

GATEWAY = "gateway"
"""Name of the listener, of its statistics and of its table of routes."""

METRICS = "metrics"
"""Name of the one cluster that is no revision's: Envoy itself, for its page of statistics."""

REVISIONS = "/revisions/"
"""Below this, each revision is reached by its name."""

TYPES = "type.googleapis.com/envoy."


@dataclass(frozen=True)
class Backend:
    """One component of a revision: its replicas on 127.0.0.1.

    A port stays here while its replica is being started anew: requests then wait for the next one
    for five seconds, while a backend without ports fails them at once.

    Args:
        cluster: Name of its cluster.
        ports: Where its replicas answer REST.
        grpc_ports: Where they answer gRPC; none: it is not offered.
        concurrency: Requests that a replica gets at a time; 0: any number. The others wait in
            Envoy, as long as their timeout. This holds for REST and for gRPC by itself, and if
            Envoy has one worker. Workers know nothing of each other, and each may always have a
            connection: with `n` of them it may be `n - 1` requests more for REST, and `n` times
            as many for gRPC.
    """

    cluster: str
    ports: tuple[int, ...]
    grpc_ports: tuple[int, ...] = ()
    concurrency: int = 0


@dataclass(frozen=True)
class Destination:
    """Where requests go. `weights`: cluster and its share, in per cent; none: 503.

    Sessions are dealt out in this order, so the cluster whose share is to grow comes first: it
    keeps those that it has.

    `timeout` in seconds, for one request; 0: as long as it takes.
    """

    timeout: int
    weights: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Route:
    """A service's way in: requests to explain go to `explain` if there is one, all else before.

    `message` is what a caller is told while there is nowhere to go.
    """

    namespace: str
    name: str
    predict: Destination
    explain: Destination | None = None
    message: str | None = None

    @property
    def path(self) -> str:
        """Where the gateway offers the service."""
        return service_path(self.namespace, self.name)

    @property
    def excuse(self) -> str:
        """What a caller is told while there is nowhere to go."""
        return self.message or f"service {self.namespace}/{self.name} has no ready revision"


@dataclass(frozen=True)
class Table:
    """All that the gateway shall know."""

    backends: tuple[Backend, ...] = ()
    routes: tuple[Route, ...] = ()


def service_path(namespace: str, name: str) -> str:
    """Where the gateway offers a service, without a closing slash."""
    return f"/serving/{namespace}/{name}"


def revision_path(cluster: str) -> str:
    """Where a revision's component is found, whether it has traffic or not: by its cluster.

    So the explainer of a revision asks the predictor of the same one, wherever its replicas are.
    """
    return f"{REVISIONS}{cluster}"


def grpc_cluster(cluster: str) -> str:
    """Name the cluster of a backend's gRPC ports."""
    return f"{cluster}/grpc"


def discovery(kind: str, resources: Iterable[Resource]) -> Resource:
    """Wrap resources of a kind (`config.cluster.v3.Cluster`) as the file that Envoy watches.

    The version is a digest of the content, so the same content is the same version.
    """
    typed = [{"@type": TYPES + kind, **resource} for resource in resources]
    digest = hashlib.sha256(json.dumps(typed, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "resources": typed}


def watched(path: Path) -> Resource:
    """Name a file of resources, which Envoy reads again whenever it is replaced."""
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def extension(name: str, kind: str, **fields: Any) -> Resource:
    """Give one of Envoy's extensions with its configuration, a message of type `kind`."""
    return {"name": name, "typed_config": {"@type": f"{TYPES}extensions.{kind}", **fields}}
