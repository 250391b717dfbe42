"""The metrics of all workers, as Prometheus reads them: what prometheus_client is needed for."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version as version_of
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector

from modelport_serving.metrics import cells as at
from modelport_serving.metrics.cells import PROTOCOLS, ROWS, SECONDS, Owner

if TYPE_CHECKING:
    from modelport_serving.tensors import Array

Rows = Sequence[tuple[Owner, "memoryview[float]"]]

_GRPC_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def expose(rows: Rows, accept: str | None) -> tuple[bytes, str]:
    """Return the sums of the workers' rows in the format that `accept` asks for, and its type."""
    encode, content_type = choose_encoder(accept or "")
    return encode(_Collector(rows)), content_type


class _Collector:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        models = _by_model(self._rows)
        own = {owner.slot: cells for owner, cells in self._rows if not owner.model}
        yield from _durations(models)
        yield _requests(models)
        yield from _batches(models)
        yield from _cache(models, own.values())
        yield from _loads(self._rows)
        yield _dropped(own.values())
        yield from _processes({slot: int(cells[at.PID]) for slot, cells in own.items()})
        yield _build()


def _by_model(rows: Rows) -> dict[str, Array]:
    """Add up the rows of all versions and workers; `""` is for requests that met no model."""
    sums: dict[str, Array] = {}
    for owner, cells in rows:
        sums[owner.model] = sums.get(owner.model, 0.0) + np.array(cells)
    return sums


def _named(models: dict[str, Array]) -> dict[str, Array]:
    return {name: cells for name, cells in models.items() if name}


def _durations(models: dict[str, Array]) -> Iterator[Metric]:
    for stage, first in at.STAGES.items():
        family = HistogramMetricFamily(
            f"request_{stage}_seconds", f"Time to {stage} a request.", labels=["model_name"]
        )
        for name, cells in _named(models).items():
            _add_histogram(family, [name], cells, first, SECONDS)
        yield family
    family = HistogramMetricFamily(
        "kserve_prediction_latency_seconds",
        "Time from a prediction's arrival to its answer.",
        labels=["model_name", "protocol"],
    )
    for name, cells in _named(models).items():
        for protocol in PROTOCOLS:
            _add_histogram(family, [name, protocol], cells, at.LATENCY[protocol], SECONDS)
    yield family


def _add_histogram(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    cells: Array,
    first: int,
    bounds: Sequence[float],
) -> None:
    """Add a histogram's sum and buckets, unless it has counted nothing."""
    counts = cells[first : first + len(bounds) + 1].tolist()
    if not any(counts):
        return
    # As prometheus_client writes them: a bound's name is part of a series' identity.
    names = [str(float(bound)) for bound in bounds] + ["+Inf"]
    buckets = list(zip(names, accumulate(counts), strict=True))
    family.add_metric(labels, buckets, float(cells[first - 1]))


def _requests(models: dict[str, Array]) -> Metric:
    family = CounterMetricFamily(
        "modelport_requests",
        "Requests answered; those for no model of this server have no model_name.",
        labels=["model_name", "protocol", "code"],
    )
    for name, cells in models.items():
        for protocol in PROTOCOLS:
            for code, count in _answers(cells, protocol).items():
                family.add_metric([name, protocol, code], count)
    return family


def _answers(cells: Array, protocol: str) -> dict[str, float]:
    """Return how often each code was answered."""
    latency, first = at.LATENCY[protocol], at.ANSWERS[protocol]
    counts = cells[first : first + at.CODES].copy()
    counts[0 if protocol == "grpc" else 200] += cells[latency : latency + len(SECONDS) + 1].sum()
    return {
        _code_name(protocol, code): float(counts[code]) for code in np.flatnonzero(counts).tolist()
    }


def _code_name(protocol: str, code: int) -> str:
    if protocol == "grpc" and code < len(_GRPC_CODES):
        return _GRPC_CODES[code]
    return str(code)


def _batches(models: dict[str, Array]) -> Iterator[Metric]:
    named = _named(models)
    in_flight = {
        name: cells[at.ARRIVED] - at.finished(cells.tolist()) for name, cells in named.items()
    }
    yield _gauge("modelport_requests_in_flight", "Requests being worked on or waiting.", in_flight)
    queued = {name: cells[at.QUEUED] for name, cells in named.items()}
    yield _gauge("modelport_queue_length", "Requests that wait for the model.", queued)
    for metric, text, first, bounds in (
        ("modelport_queue_wait_seconds", "Time a request waited for the model.", at.WAIT, SECONDS),
        ("modelport_batch_rows", "Rows in one call of the model.", at.BATCH, ROWS),
    ):
        family = HistogramMetricFamily(metric, text, labels=["model_name"])
        for name, cells in named.items():
            _add_histogram(family, [name], cells, first, bounds)
        yield family


def _gauge(name: str, text: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["model_name"])
    for model, value in values.items():
        family.add_metric([model], value)
    return family


def _cache(models: dict[str, Array], own: Iterable[memoryview[float]]) -> Iterator[Metric]:
    for result, cell in (("hits", at.CACHE_HITS), ("misses", at.CACHE_MISSES)):
        family = CounterMetricFamily(
            f"modelport_cache_{result}", f"Response cache {result}.", labels=["model_name"]
        )
        for name, cells in _named(models).items():
            family.add_metric([name], cells[cell])
        yield family
    size = sum(cells[at.CACHE_BYTES] for cells in own)
    yield GaugeMetricFamily("modelport_cache_bytes", "Answers kept in the workers' memory.", size)


def _loads(rows: Rows) -> Iterator[Metric]:
    """Yield how long loads and warm-ups took, in the slowest worker."""
    for metric, text, cell in (
        ("modelport_model_load_seconds", "Time the last load took.", at.LOAD_SECONDS),
        ("modelport_model_warm_up_seconds", "Time the last warm-up took.", at.WARM_UP_SECONDS),
    ):
        slowest: dict[tuple[str, str], float] = {}
        for owner, cells in rows:
            if owner.model:
                key = (owner.model, owner.version or "")
                slowest[key] = max(slowest.get(key, 0.0), cells[cell])
        family = GaugeMetricFamily(metric, text, labels=["model_name", "model_version"])
        for labels, seconds in slowest.items():
            family.add_metric(labels, seconds)
        yield family


def _dropped(own: Iterable[memoryview[float]]) -> Metric:
    workers = list(own)
    family = CounterMetricFamily(
        "modelport_dropped",
        "Log records and payload events given up rather than let an answer wait.",
        labels=["what"],
    )
    for what, cell in at.DROPPED.items():
        family.add_metric([what], sum(cells[cell] for cells in workers))
    return family


def _processes(pids: Mapping[int, int]) -> Iterable[Metric]:
    """Return prometheus_client's process metrics, of each worker by the number of its slot.

    Not their sum: a restarted worker begins at 0, and only its own series may fall.
    """
    families: dict[str, Metric] = {}
    for slot, pid in pids.items():
        for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            family = families.setdefault(
                metric.name, Metric(metric.name, metric.documentation, metric.type)
            )
            for sample in metric.samples:
                family.add_sample(sample.name, {"worker": str(slot)}, sample.value)
    return families.values()


def _build() -> Metric:
    return InfoMetricFamily(
        "modelport_build",
        "What serves.",
        {"version": version_of("modelport"), "python_version": platform.python_version()},
    )
