"""Measure an engine with idle services: memory, start-up, and the CPU that it needs for nothing."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks import models
from benchmarks.progress import say
from modelport_engine import standby
from modelport_engine.client import EngineClient
from modelport_engine.replicas.processes import owned

ROLES = ("engine", "standby", "Envoy", "services")

_REST_SECONDS = 3.0
# Before each measurement: what a start has left to do is done then.

_IDLE_SECONDS = 10.0
_MOST_SECONDS = 120.0


def run(counts: Sequence[int]) -> dict[str, Any]:
    """Deploy services one after another; measure the engine alone and at each of these counts.

    A row has bytes (`rss`, `pss`) and per cent of a core (`cpu`) by role, and the `seconds` from
    an `apply` to Ready: `median` and `most` of all services so far.
    """
    model = models.forest().onnx
    seconds: list[float] = []
    rows = []
    with _engine() as client:
        for count in sorted({0, *counts}):
            while len(seconds) < count:
                seconds.append(_deploy(client, model, f"idle-{len(seconds)}"))
            rows.append(_row(client, seconds))
            say(f"{count} services are measured")
    return {"rows": rows, "idle_seconds": _IDLE_SECONDS}


@contextmanager
def _engine() -> Iterator[EngineClient]:
    with TemporaryDirectory(prefix="engine-") as home:
        client = EngineClient(home)
        client.ensure_running()
        try:
            yield client
        finally:
            client.shutdown()


def _deploy(client: EngineClient, model: Path, name: str) -> float:
    """Deploy a service; give the seconds from `apply` to Ready."""
    predictor = {"model": {"modelFormat": {"name": "onnx"}, "storageUri": f"file://{model}"}}
    begun = time.monotonic()
    client.apply(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name},
            "spec": {"predictor": predictor},
        }
    )
    client.wait_ready(name, timeout=_MOST_SECONDS)
    return time.monotonic() - begun


def _row(client: EngineClient, seconds: Sequence[float]) -> dict[str, Any]:
    time.sleep(_REST_SECONDS)
    processes = _processes(client)
    before = _cpu_seconds(processes)
    time.sleep(_IDLE_SECONDS)
    after = _cpu_seconds(processes)
    rss, pss = Counter[str](), Counter[str]()
    for process, role in processes.items():
        memory = process.memory_full_info()
        rss[role] += memory.rss
        pss[role] += memory.pss
    return {
        "services": len(seconds),
        "rss": rss,
        "pss": pss,
        "cpu": {role: 100 * (after[role] - before[role]) / _IDLE_SECONDS for role in after},
        "seconds": {"median": median(seconds), "most": max(seconds)} if seconds else None,
    }


def _processes(client: EngineClient) -> dict[psutil.Process, str]:
    """Give all processes of the engine, and what each is."""
    found = {process: _role(process) for process in owned(client.paths.home)}
    return {**found, psutil.Process(client.info()["pid"]): "engine"}


def _role(process: psutil.Process) -> str:
    if standby.__file__ in process.cmdline():
        return "standby"
    return "Envoy" if process.name() == "envoy" else "services"


def _cpu_seconds(processes: dict[psutil.Process, str]) -> dict[str, float]:
    """Give the CPU time of each role, finer than the clock ticks that psutil tells."""
    taken: defaultdict[str, float] = defaultdict(float)
    for process, role in processes.items():
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            taken[role] += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return taken
