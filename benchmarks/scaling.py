"""How throughput and latency go with the number of connections, and of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import models, protocols
from benchmarks.load import Load, measure
from benchmarks.machine import CORES
from benchmarks.progress import say
from benchmarks.runtime import modelport
from benchmarks.servers import ServerFailed, ask

CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_WORKER_CONNECTIONS = 64


def run(connections: Sequence[int] = CONNECTIONS, seconds: int = 4) -> dict[str, Any]:
    """Measure V2 JSON on one core by connections, then on all cores by workers."""
    forest = models.forest()
    request = protocols.v2(forest)
    with modelport(forest.onnx, request) as (_, port):
        measure(port, request, 16, 1)
        by_connections = [_point(measure(port, request, at, seconds)) for at in connections]
        ask(port, request)
    by_workers = []
    for workers in range(1, len(CORES) + 1):
        try:
            by_workers.append(_workers(forest, request, workers, seconds))
        except ServerFailed as error:
            say(f"  {workers} workers: {error}")
            by_workers.append({"workers": workers, "problem": str(error)})
    return {"seconds": seconds, "by_connections": by_connections, "by_workers": by_workers}


def _workers(
    forest: models.Forest, request: protocols.Request, workers: int, seconds: int
) -> dict[str, Any]:
    arguments = ("--workers", str(workers))
    with modelport(forest.onnx, request, *arguments, core=None) as (server, port):
        measure(port, request, _WORKER_CONNECTIONS, 1)
        point = _point(measure(port, request, _WORKER_CONNECTIONS, seconds))
        return {"workers": workers, **point, "memory_mb": server.resident_mb()}


def _point(load: Load) -> dict[str, Any]:
    say(f"  {load.connections} connections: {load.per_second:,.0f} requests/s")
    return {
        "connections": load.connections,
        "per_second": load.per_second,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
    }


def describe(result: dict[str, Any]) -> str:
    """Return the Markdown of a result."""
    points = result["by_connections"]
    rows = [
        ("connections", [f"{point['connections']}" for point in points]),
        ("req/s", [f"{point['per_second']:,.0f}" for point in points]),
        ("p99 ms", [f"{point['p99_ms']:.2f}" for point in points]),
    ]
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    lines.insert(1, "|---" * (len(points) + 1) + "|")
    return "\n".join(["V2 JSON by connections, one core:", "", *lines, "", _by_workers(result)])


def _by_workers(result: dict[str, Any]) -> str:
    """Say what more workers bring; the load generator shares their cores."""
    said = [
        f"{point['workers']}: " + (point.get("problem") or f"{point['per_second']:,.0f} req/s")
        for point in result["by_workers"]
    ]
    return f"By `--workers`, on all {len(said)} cores, shared with wrk: {'; '.join(said)}."
