"""What passed through the gateway, by backend: counts, and how long answers took."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport_engine.gateway.xds import grpc_cluster

if TYPE_CHECKING:
    from collections.abc import Iterable

_REST, _GRPC = "", grpc_cluster("")
_ALIKE = {
    "upstream_rq_completed": "requests",
    "upstream_rq_active": "active",
    "upstream_rq_pending_active": "active",
}
_COUNTS = {
    _REST: {**_ALIKE, "upstream_rq_5xx": "failed"},
    # UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS; the others are the caller's.
    _GRPC: {**_ALIKE, **{f"grpc.{code}": "failed" for code in (2, 4, 13, 14, 15)}},
}
_LATENCY = "upstream_rq_time"

# A backend's name has a slash; that of Envoy's own cluster has none.
_CLUSTER = rf"cluster\.([^./]+/[^./]+)({_GRPC}|)\."
_STATISTICS = sorted({_LATENCY, *_COUNTS[_REST], *_COUNTS[_GRPC]})
_NAME = re.compile(f"{_CLUSTER}({'|'.join(map(re.escape, _STATISTICS))})")

ALL = f"^{_NAME.pattern}$"
"""All statistics of Envoy that are looked at, as a regular expression."""

ACTIVE = f"^{_CLUSTER}upstream_rq_(pending_)?active$"
"""Those alone that tell how many requests are under way."""

HISTOGRAMS = {"histogram_buckets": "cumulative"}
"""How Envoy is asked for latencies."""


@dataclass(frozen=True)
class ClusterStatistics:
    """A backend since Envoy was started, REST and gRPC together.

    Args:
        requests: Those that were answered, by Envoy itself as well, unless their time ran out while
            there was no replica.
        active: Those that a replica works on, or that wait for one.
        failed: Those answered with 500 and above, or with gRPC's like.
        latency: For each upper bound in milliseconds, how many took no longer, waiting and
            retries included. It may be a second behind, and leaves out what Envoy answered.
    """

    requests: int = 0
    active: int = 0
    failed: int = 0
    latency: tuple[tuple[float, int], ...] = ()


NONE = ClusterStatistics()


def summed(entries: Iterable[dict[str, Any]]) -> dict[str, ClusterStatistics]:
    """Add up what Envoy tells of each backend's clusters.

    Args:
        entries: Envoy's own list: a count each, or all histograms.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    latencies: defaultdict[str, Counter[float]] = defaultdict(Counter)
    for entry in entries:
        for histogram in entry.get("histograms", ()):
            name, _, _ = _named(histogram["name"])
            for bucket in histogram["buckets"]:
                latencies[name][bucket["upper_bound"]] += bucket["cumulative"]
        if "value" in entry:
            name, protocol, statistic = _named(entry["name"])
            if statistic in _COUNTS[protocol]:
                counts[name][_COUNTS[protocol][statistic]] += entry["value"]
    return {
        name: ClusterStatistics(**count, latency=tuple(sorted(latencies[name].items())))
        for name, count in counts.items()
    }


def _named(text: str) -> tuple[str, str, str]:
    """Tell the backend, the protocol and the kind of a statistic."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} was not asked for")
    cluster, protocol, statistic = match.groups()
    return cluster, protocol, statistic
