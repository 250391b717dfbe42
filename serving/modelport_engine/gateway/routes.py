"""Envoy's routes: which request goes to which cluster, and what is said where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_engine.gateway.xds import (
    GATEWAY,
    METRICS,
    REVISIONS,
    Destination,
    Resource,
    discovery,
    extension,
    grpc_cluster,
    revision_path,
)

if TYPE_CHECKING:
    from collections.abc import Container

    from modelport_engine.gateway.xds import Route, Table

SESSION_HEADER = "modelport-session"
"""Requests with the same value get the same revision, as long as the weights stay."""

_RETRIES = {
    # Only failures before the runtime has seen the request: a prediction is never made twice.
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    # A replica that was killed is back after a second or so, on another port. Each pause is a
    # random part of 0.25 s, so all of them take five seconds, give or take one.
    "num_retries": 40,
    "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    "retry_host_predicate": [
        extension(
            "envoy.retry_host_predicates.previous_hosts",
            "retry.host.previous_hosts.v3.PreviousHostsPredicate",
        )
    ],
    "host_selection_retry_max_attempts": 3,
}

_KEPT_FOR_RETRIES = 16 * 1024 * 1024
# Bytes. Envoy keeps a request's body until its answer begins; a larger one is sent only once.

_EXPLAIN = r"[^?]*/(v1/models/[^/?]+:explain|v2/models/[^?]+/explain)(\?.*)?"
"""V1 and V2 requests to explain, as Envoy's `:path` has them: with their query."""

_GRPC: Resource = {"prefix": "/", "grpc": {}}
# Whatever has a content-type of gRPC.


def routes(table: Table) -> Resource:
    """Give all routes: by host `name.namespace.*`, and by path `/serving/namespace/name/`.

    And each cluster's own, by `revision_path`. gRPC has no paths to choose from, so it is routed
    by host alone.
    """
    services = sorted(table.routes, key=lambda route: (route.namespace, route.name))
    speaks_grpc = {backend.cluster for backend in table.backends if backend.grpc_ports}
    by_path = {
        "name": "paths",
        "request_body_buffer_limit": _KEPT_FOR_RETRIES,
        "domains": ["*"],
        "routes": [
            {
                "match": _GRPC,
                **_answer(404, "no such service; the authority is NAME.NAMESPACE.local"),
            },
            _metrics(),
            *(entry for route in services for entry in _by_path(route)),
            *(_by_revision(backend.cluster) for backend in table.backends),
            {"match": {"prefix": REVISIONS}, **_answer(503, "no replica of it is ready")},
            {
                "match": {"prefix": "/"},
                **_answer(404, "no such service; the path is /serving/NAMESPACE/NAME/..."),
            },
        ],
    }
    configuration = {
        "name": GATEWAY,
        "virtual_hosts": [*(_by_host(route, speaks_grpc) for route in services), by_path],
        "ignore_port_in_host_matching": True,
        # The listener's first table must not wait for clusters that are still being warmed.
        "validate_clusters": False,
    }
    return discovery("config.route.v3.RouteConfiguration", [configuration])


def _by_host(route: Route, speaks_grpc: Container[str]) -> Resource:
    host = f"{route.name}.{route.namespace}"
    return {
        "name": f"{route.namespace}/{route.name}",
        "domains": [host, f"{host}.*"],
        "request_body_buffer_limit": _KEPT_FOR_RETRIES,
        "routes": [
            {"match": _GRPC, **_grpc_action(route, speaks_grpc)},
            *_entries(route, {"prefix": "/"}),
        ],
    }


def _grpc_action(route: Route, speaks_grpc: Container[str]) -> Resource:
    """Send gRPC where REST goes; revisions that do not speak it leave their share to the others."""
    weights = route.predict.weights
    offered = tuple((grpc_cluster(name), share) for name, share in weights if name in speaks_grpc)
    if weights and not offered:
        # Envoy makes 404 gRPC's UNIMPLEMENTED, and 503 its UNAVAILABLE.
        return _answer(404, f"service {route.namespace}/{route.name} does not speak gRPC: use REST")
    return _action(route, Destination(route.predict.timeout, offered))


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


def _metrics() -> Resource:
    """Show Prometheus' page of Envoy's admin interface: this very target, and no other."""
    target = {"name": ":path", "string_match": {"exact": "/metrics"}}
    method = {"name": ":method", "string_match": {"exact": "GET"}}
    return {
        "match": {"path": "/metrics", "headers": [target, method]},
        "route": {"cluster": METRICS, "prefix_rewrite": "/stats/prometheus", "timeout": "10s"},
    }


def _action(route: Route, destination: Destination, rewrite: str | None = None) -> Resource:
    if not destination.weights:
        return _answer(503, route.excuse)
    return _forward(destination, rewrite)


def _forward(destination: Destination, rewrite: str | None = None) -> Resource:
    action: Resource = {
        "weighted_clusters": {
            "clusters": [{"name": name, "weight": weight} for name, weight in destination.weights],
            "use_hash_policy": True,
        },
        # Without the header there is no hash, and chance decides.
        "hash_policy": [{"header": {"header_name": SESSION_HEADER}}],
        "timeout": f"{destination.timeout}s",
        "idle_timeout": f"{destination.timeout}s",
        "retry_policy": _RETRIES,
    }
    if rewrite:
        action["prefix_rewrite"] = rewrite
    return {"route": action}


def _answer(status: int, message: str) -> Resource:
    return {"direct_response": {"status": status, "body": {"inline_string": message}}}
