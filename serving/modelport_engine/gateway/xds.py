"""Envoy's configuration as pure functions: what is wanted in, dictionaries out.

Listener, routes, clusters and endpoints are resources of their own (LDS, RDS, CDS, EDS), so that
a change of weights or endpoints touches neither listener nor connections. Source: Envoy's API v3
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

MAX_CONNECTIONS = 8192
"""Clients at a time; more are refused rather than let Envoy grow without bound."""

_REVISIONS = "/revisions/"
_TYPES = "type.googleapis.com/envoy."
_HTTP = f"{_TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_RETRIES = {
    # Only failures before the runtime has seen the request: a prediction is never made twice.
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": 3,
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": f"{_TYPES}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": 3,
}


_EXPLAIN = r"[^?]*/(v1/models/[^/?]+:explain|v2/models/[^?]+/explain)(\?.*)?"
"""V1 and V2 requests to explain, as Envoy's `:path` has them: with their query."""


@dataclass(frozen=True)
class Backend:
    """One component of a revision as Envoy's cluster. `ports`: its replicas on 127.0.0.1."""

    cluster: str
    ports: tuple[int, ...]


@dataclass(frozen=True)
class Destination:
    """Where requests go. `weights`: cluster and its share, in per cent; none: 503.

    `timeout` in seconds, for one request; 0: as long as it takes.
    """

    timeout: int
    weights: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Route:
    """A service's way in: requests to explain go to `explain` if there is one, all else before."""

    namespace: str
    name: str
    predict: Destination
    explain: Destination | None = None

    @property
    def path(self) -> str:
        """Where the gateway offers the service."""
        return service_path(self.namespace, self.name)


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
    return f"{_REVISIONS}{cluster}"


def discovery(kind: str, resources: Iterable[Resource]) -> Resource:
    """Wrap resources of a kind (`config.cluster.v3.Cluster`) as the file that Envoy watches.

    The version is a digest of the content, so the same content is the same version.
    """
    typed = [{"@type": _TYPES + kind, **resource} for resource in resources]
    digest = hashlib.sha256(json.dumps(typed, sort_keys=True).encode()).hexdigest()[:16]
    return {"version_info": digest, "resources": typed}


def bootstrap(folder: Path) -> Resource:
    """Give Envoy's start configuration: the admin socket, and where the rest is found."""
    return {
        "node": {"id": "modelport", "cluster": "modelport"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": _file(folder / "lds.json"),
            "cds_config": _file(folder / "cds.json"),
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPES}extensions.resource_monitors"
                        ".downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
    }


def listeners(folder: Path, port: int) -> Resource:
    """Give the one listener: HTTP/1.1 and HTTP/2 on 127.0.0.1, routes from their own file."""
    listener = {
        "name": GATEWAY,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        # A second Envoy on this port must fail, not share it.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(folder),
                    }
                ]
            }
        ],
    }
    return discovery("config.listener.v3.Listener", [listener])


_UPSTREAM_HTTP = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        # The runtime closes a connection that was idle for 30 s; a request sent at that very
        # moment would be lost, so ours are closed well before.
        "common_http_protocol_options": {"idle_timeout": "15s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
}


def clusters(folder: Path, names: Iterable[str]) -> Resource:
    """Give one cluster for each name; its endpoints come from a file of its own."""
    return discovery(
        "config.cluster.v3.Cluster",
        [
            {
                "name": name,
                "type": "EDS",
                "connect_timeout": "1s",
                "lb_policy": "LEAST_REQUEST",
                "eds_cluster_config": {"eds_config": _file(folder / endpoints_file(name))},
                # Envoy's default of 3 concurrent retries would drop requests when a replica goes.
                "circuit_breakers": {"thresholds": [{"max_retries": 1024}]},
                "typed_extension_protocol_options": _UPSTREAM_HTTP,
            }
            for name in sorted(names)
        ],
    )


def endpoints(backend: Backend) -> Resource:
    """Give the addresses of a cluster's replicas."""
    addresses = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in sorted(backend.ports)
    ]
    return discovery(
        "config.endpoint.v3.ClusterLoadAssignment",
        [{"cluster_name": backend.cluster, "endpoints": [{"lb_endpoints": addresses}]}],
    )


def endpoints_file(cluster: str) -> str:
    """Name the file of a cluster's endpoints; EDS wants one for each."""
    return f"eds-{cluster.replace('/', '.')}.json"


def routes(table: Table) -> Resource:
    """Give all routes: by host `name.namespace.*`, and by path `/serving/namespace/name/`.

    And each cluster's own, by `revision_path`.
    """
    services = sorted(table.routes, key=lambda route: (route.namespace, route.name))
    by_host = [
        {
            "name": f"{route.namespace}/{route.name}",
            "domains": [f"{route.name}.{route.namespace}.*"],
            "routes": _entries(route, {"prefix": "/"}),
        }
        for route in services
    ]
    by_path = {
        "name": "paths",
        "domains": ["*"],
        "routes": [
            *(entry for route in services for entry in _by_path(route)),
            *(_by_revision(backend.cluster) for backend in table.backends),
            {"match": {"prefix": _REVISIONS}, **_answer(503, "no replica of it is ready")},
            _unknown(),
        ],
    }
    configuration = {
        "name": GATEWAY,
        "virtual_hosts": [*by_host, by_path],
        # The listener's first table must not wait for clusters that are still being warmed.
        "validate_clusters": False,
    }
    return discovery("config.route.v3.RouteConfiguration", [configuration])


def _connection_manager(folder: Path) -> Resource:
    return {
        "@type": _HTTP,
        "stat_prefix": GATEWAY,
        "rds": {"route_config_name": GATEWAY, "config_source": _file(folder / "rds.json")},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_TYPES}extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
        "use_remote_address": True,
        "normalize_path": True,
        "server_header_transformation": "PASS_THROUGH",
        # Whatever Envoy itself answers has the shape of the protocol's errors.
        "local_reply_config": {"body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}},
    }


def _by_path(route: Route) -> list[Resource]:
    return [
        *_entries(route, {"prefix": f"{route.path}/"}, rewrite="/"),
        {"match": {"path": route.path}, **_action(route, route.predict, rewrite="/")},
    ]


def _entries(route: Route, match: Resource, rewrite: str | None = None) -> list[Resource]:
    """Give a service's routes below a prefix; the first that matches counts."""
    predict = {"match": match, **_action(route, route.predict, rewrite)}
    if route.explain is None:
        return [predict]
    asks = {"name": ":path", "string_match": {"safe_regex": {"regex": _EXPLAIN}}}
    explained = {**match, "headers": [asks]}
    return [{"match": explained, **_action(route, route.explain, rewrite)}, predict]


def _by_revision(cluster: str) -> Resource:
    # No time limit: whoever asks here answers somebody who has one.
    action = _forward(Destination(0, ((cluster, 100),)), rewrite="/")
    return {"match": {"prefix": f"{revision_path(cluster)}/"}, **action}


def _action(route: Route, destination: Destination, rewrite: str | None = None) -> Resource:
    if not destination.weights:
        return _answer(503, f"service {route.namespace}/{route.name} has no ready revision")
    return _forward(destination, rewrite)


def _forward(destination: Destination, rewrite: str | None = None) -> Resource:
    action: Resource = {
        "weighted_clusters": {
            "clusters": [{"name": name, "weight": weight} for name, weight in destination.weights]
        },
        "timeout": f"{destination.timeout}s",
        "idle_timeout": f"{destination.timeout}s",
        "retry_policy": _RETRIES,
    }
    if rewrite:
        action["prefix_rewrite"] = rewrite
    return {"route": action}


def _unknown() -> Resource:
    return {
        "match": {"prefix": "/"},
        **_answer(404, "no such service; the path is /serving/NAMESPACE/NAME/..."),
    }


def _answer(status: int, message: str) -> Resource:
    return {"direct_response": {"status": status, "body": {"inline_string": message}}}


def _file(path: Path) -> Resource:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}
