"""Envoy's clusters and their endpoints: the replicas of each revision's component."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_engine.gateway.xds import (
    TYPES,
    Resource,
    discovery,
    grpc_cluster,
    watched,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from modelport_engine.gateway.xds import Backend

_REST: Resource = {"http_protocol_options": {}}

_PLENTY = dict.fromkeys(("max_pending_requests", "max_requests", "max_retries"), 65_536)
# Requests of a cluster at a time. Envoy's own bounds (1024 of them, 3 retries) would refuse those
# that wait while a replica is started anew; the number of clients bounds them anyway.

_OUTLIERS = {
    # A replica that is broken answers 502, 503 or 504, or no connection: five in a row, and it
    # gets nothing for 5 s, then for longer each time. A model's own 500 is an answer like others.
    "split_external_local_origin_errors": True,
    "consecutive_gateway_failure": 5,
    "enforcing_consecutive_gateway_failure": 100,
    "consecutive_local_origin_failure": 5,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
    "interval": "1s",
    "base_ejection_time": "5s",
    "max_ejection_time": "60s",
    # Half at most: the only replica is never taken away.
    "max_ejection_percent": 50,
}


def clusters(folder: Path, backends: Iterable[Backend]) -> dict[str, Resource]:
    """Give the clusters of all backends by name: for REST, and for gRPC where it is offered."""
    named: dict[str, Resource] = {}
    for backend in backends:
        count = backend.concurrency
        named[backend.cluster] = _cluster(folder, backend.cluster, _REST, count)
        if backend.grpc_ports:
            # A connection carries many requests: it is these that are bounded.
            http2 = {"max_concurrent_streams": count} if count else {}
            name, protocol = grpc_cluster(backend.cluster), {"http2_protocol_options": http2}
            named[name] = _cluster(folder, name, protocol, min(count, 1))
    return named


def clusters_file(named: Mapping[str, Resource]) -> Resource:
    """Give the file of these clusters."""
    return discovery("config.cluster.v3.Cluster", [named[name] for name in sorted(named)])


def endpoints(backend: Backend) -> dict[str, Resource]:
    """Give the files of a backend's endpoints, by the clusters that they belong to."""
    files = {backend.cluster: _endpoints(backend.cluster, backend.ports)}
    if backend.grpc_ports:
        name = grpc_cluster(backend.cluster)
        files[name] = _endpoints(name, backend.grpc_ports)
    return files


def endpoints_file(cluster: str) -> str:
    """Name the file of a cluster's endpoints; EDS wants one for each."""
    return f"eds-{cluster.replace('/', '.')}.json"


def _cluster(folder: Path, name: str, protocol: Resource, connections: int) -> Resource:
    """Give a cluster; `connections` are those to one replica at a time, 0: as many as needed."""
    bounds: Resource = {"thresholds": [_PLENTY]}
    if connections:
        bounds["per_host_thresholds"] = [{"max_connections": connections}]
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "eds_cluster_config": {"eds_config": watched(folder / endpoints_file(name))},
        "circuit_breakers": bounds,
        "outlier_detection": _OUTLIERS,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}extensions.upstreams.http.v3.HttpProtocolOptions",
                # Servers close connections that are idle (gunicorn after 2 s, uvicorn after 5 s,
                # ours after 30 s); a request sent at that very moment would be lost.
                "common_http_protocol_options": {"idle_timeout": "1s"},
                "explicit_http_config": protocol,
            }
        },
    }


def _endpoints(name: str, ports: Iterable[int]) -> Resource:
    addresses = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in sorted(ports)
    ]
    return discovery(
        "config.endpoint.v3.ClusterLoadAssignment",
        [{"cluster_name": name, "endpoints": [{"lb_endpoints": addresses}]}],
    )
