"""Envoy's start configuration: the admin socket, what it counts, and where the rest is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_engine.gateway.xds import (
    ADMIN_SOCKET,
    METRICS,
    Resource,
    extension,
    watched,
)

if TYPE_CHECKING:
    from pathlib import Path

MAX_CONNECTIONS = 8192
"""Clients at a time; more are refused rather than let Envoy grow without bound."""

_BUCKETS = [
    *(0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1_000),
    *(1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 30_000, 60_000, 300_000, 3_600_000),
]
"""Upper bounds of latencies, in milliseconds."""

_COUNTED = (
    r"cluster\.[^.]+\.(version_text|upstream_rq_.*|upstream_cx_(active|total|connect_fail)|grpc\..*)",
    r"cluster\.[^.]+\.(membership_.*|outlier_detection\.ejections_(active|enforced_total))",
    r"cluster_manager\.cds\.version_text",
    r"listener_manager\.lds\.version_text",
    r"http\.gateway\..*",
    r"server\..*",
)
"""What is counted: what the engine looks at, and what an operator does. All would be four times
as much to tell."""


def bootstrap(folder: Path) -> Resource:
    """Give Envoy's start configuration; `folder` is where it works."""
    return {
        "node": {"id": "modelport", "cluster": "modelport"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": watched(folder / "lds.json"),
            "cds_config": watched(folder / "cds.json"),
        },
        "static_resources": {"clusters": [_metrics()]},
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=MAX_CONNECTIONS,
                )
            ]
        },
        # Latencies are added up this often, and the engine looks once a second.
        "stats_flush_interval": "1s",
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {"patterns": [{"safe_regex": {"regex": one}} for one in _COUNTED]}
            },
            "histogram_bucket_settings": [{"match": {"suffix": "_time"}, "buckets": _BUCKETS}],
        },
    }


def _metrics() -> Resource:
    """Give the cluster behind the gateway's page of statistics: Envoy's own admin interface."""
    endpoint = {"endpoint": {"address": {"pipe": {"path": ADMIN_SOCKET}}}}
    return {
        "name": METRICS,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": METRICS,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
